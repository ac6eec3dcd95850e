package core

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"github.com/reventless-go/reventless/internal/component"
)

// maxAttr bounds one logged value, in bytes: ids in foreign messages can have any
// length.
const maxAttr = 1024

// bounded is a log handler that shortens long values.
type bounded struct{ slog.Handler }

// Handle implements [slog.Handler].
func (b bounded) Handle(ctx context.Context, r slog.Record) error {
	cut := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		if a.Value.Kind() == slog.KindString {
			a.Value = slog.StringValue(clipTo(a.Value.String(), maxAttr))
		}
		cut.AddAttrs(a)
		return true
	})
	return b.Handler.Handle(ctx, cut)
}

// WithAttrs implements [slog.Handler].
func (b bounded) WithAttrs(attrs []slog.Attr) slog.Handler {
	return bounded{b.Handler.WithAttrs(attrs)}
}

// WithGroup implements [slog.Handler].
func (b bounded) WithGroup(name string) slog.Handler { return bounded{b.Handler.WithGroup(name)} }

// Clip shortens an id for an error or a log line.
func Clip(s string) string { return clipTo(s, 64) }

func clipTo(s string, n int) string {
	if len(s) > n {
		return strings.ToValidUTF8(s[:n], "") + "..."
	}
	return s
}

// ForLog returns err as one line of bounded length without payloads: it omits the value
// of a panic and the text of a decoder error. The application is responsible for the
// text of its own errors. (The reason in a dead letter is complete, since it is stored
// with the payload.)
func ForLog(err error) string {
	s := err.Error()
	for _, e := range flatten(err, nil) {
		var public string
		switch e := e.(type) { //nolint:errorlint // the chain is walked here
		case *panicError:
			public = e.public()
		case *json.SyntaxError, *json.UnmarshalTypeError, *json.MarshalerError, *json.UnsupportedValueError, *time.ParseError:
			public = fmt.Sprintf("%T", e)
		default:
			continue
		}
		s = strings.ReplaceAll(s, e.Error(), public)
	}
	if before, _, found := strings.Cut(s, component.ErrMalformed.Error()); found && errors.Is(err, component.ErrMalformed) {
		s = before + component.ErrMalformed.Error()
	}
	return oneLine(s)
}

// flatten lists err and every error that it wraps.
func flatten(err error, out []error) []error {
	out = append(out, err)
	switch err := err.(type) { //nolint:errorlint // the chain is walked here
	case interface{ Unwrap() error }:
		if next := err.Unwrap(); next != nil {
			return flatten(next, out)
		}
	case interface{ Unwrap() []error }:
		for _, next := range err.Unwrap() {
			out = flatten(next, out)
		}
	}
	return out
}

func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
	return clipTo(s, 500)
}

// panicError is a panic of application code.
type panicError struct {
	value any
	stack []uintptr
}

func (p *panicError) Error() string { return fmt.Sprintf("panic: %v", p.value) }

// public returns the text without the value of the panic, unless the value is a
// [runtime.Error].
func (p *panicError) public() string {
	if _, ok := p.value.(runtime.Error); ok {
		return p.Error()
	}
	return fmt.Sprintf("panic: a value of type %T", p.value)
}

// ownPackage begins the names of the functions of this package, which only call
// application code.
const ownPackage = "github.com/reventless-go/reventless/internal/host/core."

// where returns the stack without arguments, since these may contain payloads.
func (p *panicError) where() string {
	var b strings.Builder
	frames := runtime.CallersFrames(p.stack)
	for more := true; more && b.Len() < maxAttr/2; {
		var f runtime.Frame
		if f, more = frames.Next(); f.Function == "" || strings.HasPrefix(f.Function, "runtime.") || strings.HasPrefix(f.Function, ownPackage) {
			continue
		}
		fmt.Fprintf(&b, "%s %s:%d; ", f.Function, f.File[strings.LastIndexByte(f.File, '/')+1:], f.Line)
	}
	return strings.TrimSuffix(b.String(), "; ")
}

// LogPanic logs and counts err when it is a panic of a component's code.
func (c *Core) LogPanic(component string, err error) {
	var p *panicError
	if errors.As(err, &p) {
		c.Stats.Panics.Add(1)
		c.Log.Error("panic", "component", component, "value", p.public(), "stack", p.where())
	}
}
