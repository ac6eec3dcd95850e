package lambdarunner

import (
	"bytes"
	"fmt"
	"io"
	"sync"
)

// log writes whole lines.
type log struct {
	mu      sync.Mutex
	to      io.Writer
	printed []*printer
}

func (l *log) line(from string, text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.locked(from, text)
}

func (l *log) locked(from string, text []byte) {
	_, _ = fmt.Fprintf(l.to, "%s: %s\n", from, text) // a failure cannot be reported
}

func (l *log) printf(from, format string, args ...any) {
	l.line(from, fmt.Appendf(nil, format, args...))
}

// printer is the standard output and error of a process.
type printer struct {
	log  *log
	from string
	rest []byte
}

func (l *log) printer(from string) *printer {
	p := &printer{log: l, from: from}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.printed = append(l.printed, p)
	return p
}

func (p *printer) Write(b []byte) (int, error) {
	p.log.mu.Lock()
	defer p.log.mu.Unlock()
	p.rest = append(p.rest, b...)
	for {
		line, rest, ok := bytes.Cut(p.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		p.log.locked(p.from, line)
		p.rest = rest
	}
}

// flush writes the incomplete last lines.
func (l *log) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range l.printed {
		if len(p.rest) > 0 {
			l.locked(p.from, p.rest)
		}
		p.rest = nil
	}
}
