package local

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/local/sqlite"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
)

// Options configure a [Host]; nil and zero fields are the defaults.
type Options struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Logger is where lines go; nil is slog.Default.
	Logger *slog.Logger
	// MaxAttempts is how often a message is tried before it is parked; 0 is 5.
	MaxAttempts int
	// Backoff is the pause before attempt n+1, n counting from 1; nil doubles
	// from 50 ms to 30 s, with jitter.
	Backoff func(n int) time.Duration
	// CacheEntries is how many entities stay in memory; 0 is 4,096, negative is
	// none.
	CacheEntries int
	// SQLite are the options of the database.
	SQLite sqlite.Options
	// Seed makes [Main] offer the command seed: it fills the application from a
	// file and writes what it did to out. The host is started.
	Seed func(ctx context.Context, h *Host, file io.Reader, out io.Writer) error
	// Examples are documents that the first page of [Main]'s API shows; nil
	// derives some.
	Examples []Example
	// Licences makes [Main] offer the command licences, which prints it: the
	// licences of what is linked into the program, as cmd/notices writes them.
	Licences string
}

// Host runs an App in this process, on one SQLite file. Its methods are safe for
// concurrent use.
type Host struct {
	app      *reventless.App
	opts     Options
	provider *sqlite.Provider
	host     *host.Host
}

// Open opens the App's database at path, creating it when there is none. Nothing
// runs before [Host.Start]. A file that another process has open is refused with
// [driver.ErrUnavailable], one that is damaged or not ours with
// [driver.ErrInvalid].
func Open(ctx context.Context, app *reventless.App, path string, opts *Options) (*Host, error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	if o.SQLite.Now == nil {
		o.SQLite.Now = o.Now
	}
	provider, err := sqlite.Open(ctx, path, &o.SQLite)
	if err != nil {
		return nil, err
	}
	h, err := host.Open(ctx, app.Assembled(), provider, &host.Options{
		Now: o.Now, Logger: o.Logger, MaxAttempts: o.MaxAttempts, Backoff: o.Backoff, CacheEntries: o.CacheEntries,
	})
	if err != nil {
		return nil, errors.Join(err, provider.Close())
	}
	return &Host{app, o, provider, h}, nil
}

// Start runs everything that runs by itself until Close: queues, projections,
// automations, schedules, tasks.
func (h *Host) Start(ctx context.Context) error { return h.host.Start(ctx) }

// Close waits for what is running and closes the database. What is queued,
// scheduled or parked stays for the next Open.
func (h *Host) Close() error { return errors.Join(h.host.Close(), h.provider.Close()) }

// WaitIdle returns when nothing is left to do now: everything that was sent has
// been handled, projected and reacted to. Schedules that are not due do not count.
func (h *Host) WaitIdle(ctx context.Context) error { return h.host.WaitIdle(ctx) }

// Send sends a command under an id, the idempotency key; an empty id is replaced
// by a new one. The outcome of an asynchronous aggregate is Pending. The error
// is a failure, not a refusal; after one the command may or may not have taken
// effect, and may be sent again with the same id.
func (h *Host) Send(ctx context.Context, commandID string, s message.Send) (message.Outcome, error) {
	o, err := h.host.SendAction(ctx, commandID, driver.Meta{}, s.Erased())
	return message.Outcome(o), err
}

// SendJSON is [Host.Send] for a command by name: aggregate is its component, or
// "<Plugin>.<Component>", data the payload.
func (h *Host) SendJSON(ctx context.Context, commandID, aggregate, command, id string, data []byte) (message.Outcome, error) {
	name, d, err := h.find(aggregate, "aggregate", func(d *component.Definition) bool { return d.Aggregate != nil })
	if err != nil {
		return message.Outcome{}, err
	}
	version := 1
	known := make([]string, 0, len(d.Aggregate.Commands))
	for _, t := range d.Aggregate.Commands {
		known = append(known, t.Name)
		if t.Name == command {
			version = t.Version
		}
	}
	if !slices.Contains(known, command) {
		return message.Outcome{}, fmt.Errorf("aggregate %s has no command %q, it has %s: %w", name, command, strings.Join(known, ", "), driver.ErrInvalid)
	}
	if len(data) == 0 {
		data = []byte("{}")
	}
	if !json.Valid(data) || !utf8.Valid(data) {
		return message.Outcome{}, fmt.Errorf("the data of %s is not JSON: %w", command, driver.ErrInvalid)
	}
	o, err := h.host.Send(ctx, driver.Command{
		Target: name, Entity: id, Type: command, Version: version, Data: data, Meta: driver.Meta{ID: commandID},
	})
	return message.Outcome(o), err
}

// Outcome returns the outcome of an asynchronous command, kept for a day;
// [driver.ErrNotFound] when there is none.
func (h *Host) Outcome(ctx context.Context, commandID string) (message.Outcome, error) {
	o, err := h.host.Outcome(ctx, commandID)
	return message.Outcome(o), err
}

// Env opens read models and buckets: views.Orders.Open(h.Env()).
func (h *Host) Env() plugin.Env { return h.host.Env() }

// Rows yields the rows of a read model, by its component name or
// "<Plugin>.<Component>": all of them, or those of one id. Each row is JSON. An
// error ends the sequence.
func (h *Host) Rows(ctx context.Context, readModel, id string) iter.Seq2[driver.Row, error] {
	return func(yield func(driver.Row, error) bool) {
		name, _, err := h.find(readModel, "read model", func(d *component.Definition) bool { return d.ReadModel != nil })
		if err != nil {
			yield(driver.Row{}, err)
			return
		}
		for cursor := ""; ; {
			var page driver.Page
			if id != "" {
				page, err = h.host.QueryEngine().Query(ctx, driver.Query{ReadModel: name, Value: id, Cursor: cursor})
			} else {
				page, err = h.host.QueryEngine().Scan(ctx, driver.Scan{ReadModel: name, Cursor: cursor, Limit: 1000})
			}
			if err != nil {
				yield(driver.Row{}, fmt.Errorf("read model %s: %w", name, err))
				return
			}
			for _, r := range page.Rows {
				if !yield(r, nil) {
					return
				}
			}
			if cursor = page.Cursor; cursor == "" {
				return
			}
		}
	}
}

// Events yields the commits of an entity, by its aggregate's component name or
// "<Plugin>.<Component>". An error ends the sequence.
func (h *Host) Events(ctx context.Context, aggregate, id string) iter.Seq2[driver.Commit, error] {
	return func(yield func(driver.Commit, error) bool) {
		name, _, err := h.find(aggregate, "aggregate or counter", func(d *component.Definition) bool { return d.Aggregate != nil || d.Counter != nil })
		if err != nil {
			yield(driver.Commit{}, err)
			return
		}
		log, _ := h.host.EventLog(name)
		for c, err := range log.Read(ctx, id, 0) {
			if !yield(c, err) {
				return
			}
		}
	}
}

// Parked returns what could not be handled; component narrows it to one, empty is
// all of them.
func (h *Host) Parked(ctx context.Context, component string) ([]driver.DeadLetter, error) {
	var all []driver.DeadLetter
	for after := ""; ; {
		page, err := h.host.DeadLetters().List(ctx, component, after, 100)
		if err != nil {
			return nil, err
		}
		if all = append(all, page...); len(page) < 100 {
			return all, nil
		}
		after = page[len(page)-1].ID
	}
}

// Redrive handles a parked letter again, now. When that fails it stays parked,
// and the error says why.
func (h *Host) Redrive(ctx context.Context, letterID string) error {
	return h.host.Redrive(ctx, letterID)
}

// Discard gives a parked letter up. A commit that is given up is skipped by the
// component that parked it, and its stream goes on behind it.
func (h *Host) Discard(ctx context.Context, letterID string) error {
	return h.host.Discard(ctx, letterID)
}

// Rebuild clears a read model and fills it again from the logs, while new events
// go on being projected. Until it returns, readers see what is filled so far.
func (h *Host) Rebuild(ctx context.Context, readModel string, progress func(commits int)) error {
	name, _, err := h.find(readModel, "read model", func(d *component.Definition) bool { return d.ReadModel != nil })
	if err != nil {
		return err
	}
	return h.host.Rebuild(ctx, name, progress)
}

// find resolves a component by its logical name, or by its own if that is unique.
func (h *Host) find(name, what string, is func(*component.Definition) bool) (string, *component.Definition, error) {
	var full []string
	var found *component.Definition
	var all []string
	for n, d := range h.host.App().All {
		if !is(d) {
			continue
		}
		all = append(all, n)
		if n == name {
			return n, d, nil
		}
		if d.Name == name {
			full, found = append(full, n), d
		}
	}
	switch len(full) {
	case 1:
		return full[0], found, nil
	case 0:
		return "", nil, fmt.Errorf("no %s is named %q; there are %s: %w", what, name, strings.Join(all, ", "), driver.ErrNotFound)
	}
	return "", nil, fmt.Errorf("%q is ambiguous: %s: %w", name, strings.Join(full, ", "), driver.ErrInvalid)
}
