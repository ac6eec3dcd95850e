package lambdahost

import (
	"encoding/json"
	"io"
	"math"
	"sync"
	"time"

	"github.com/reventless-go/reventless/internal/host"
)

// metrics writes a line for each invocation, in CloudWatch's embedded metric
// format.
type metrics struct {
	out                  io.Writer
	app, stack, function string
	now                  func() time.Time

	mu sync.Mutex
}

func newMetrics(out io.Writer, app, stack, function string, now func() time.Time) *metrics {
	return &metrics{out: out, app: app, stack: stack, function: function, now: now}
}

// measured is what is counted of one invocation.
type measured struct {
	of       *metrics
	began    time.Time
	before   host.Counts
	messages int
	failed   int
	oldest   time.Time
}

func (m *metrics) begin(before host.Counts) *measured {
	return &measured{of: m, began: m.now(), before: before}
}

// message counts a message, of when it was sent or stored; the zero of Unix time
// is not known.
func (m *measured) message(at time.Time) {
	m.messages++
	if at.Unix() > 0 && (m.oldest.IsZero() || at.Before(m.oldest)) {
		m.oldest = at
	}
}

type metric struct {
	Name string
	Unit string `json:",omitempty"`
}

type directive struct {
	Namespace  string
	Dimensions [][]string
	Metrics    []metric
}

var directives = []directive{{
	Namespace:  "Reventless",
	Dimensions: [][]string{{"App", "Stack", "Function"}},
	Metrics: []metric{
		{"Duration", "Milliseconds"},
		{"Lag", "Milliseconds"},
		{"Messages", "Count"},
		{"Failed", "Count"},
		{"Errors", "Count"},
		{"Retries", "Count"},
		{"Conflicts", "Count"},
		{"Parked", "Count"},
		{"Panics", "Count"},
	},
}}

// end writes the line. Its numbers are those of this invocation; in a process that
// has several at the same time, which Lambda does not do, the engine's are shared.
func (m *measured) end(request string, after host.Counts, err error) {
	now := m.of.now()
	type meta struct {
		Timestamp         int64
		CloudWatchMetrics []directive
	}
	line := struct {
		Meta      meta   `json:"_aws"`
		App       string `json:"App"`
		Stack     string
		Function  string
		Request   string `json:"requestId,omitempty"`
		Duration  float64
		Lag       int64
		Messages  int
		Failed    int
		Errors    int
		Retries   int64
		Conflicts int64
		Parked    int64
		Panics    int64
	}{
		Meta: meta{now.UnixMilli(), directives}, App: m.of.app, Stack: m.of.stack, Function: m.of.function, Request: request,
		Duration: math.Round(float64(now.Sub(m.began).Microseconds())) / 1000, Messages: m.messages, Failed: m.failed,
		Retries: after.Retries - m.before.Retries, Conflicts: after.Conflicts - m.before.Conflicts,
		Parked: after.Parked - m.before.Parked, Panics: after.Panics - m.before.Panics,
	}
	if err != nil {
		line.Errors, line.Failed = 1, m.messages
	}
	if !m.oldest.IsZero() {
		line.Lag = max(now.Sub(m.oldest).Milliseconds(), 0)
	}
	text, err := json.Marshal(line)
	if err != nil {
		return // there is nothing in it that has no JSON
	}
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	_, _ = m.of.out.Write(append(text, '\n')) // there is nowhere to say that it failed
}
