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
	"sync"
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

// Options configure a [Host]. nil means the defaults, as does a field that is zero.
type Options struct {
	// Now is the clock; nil means time.Now.
	Now func() time.Time
	// Logger gets the log; nil means slog.Default.
	Logger *slog.Logger
	// MaxAttempts is the number of attempts after which a message is parked; 0 means
	// 5.
	MaxAttempts int
	// Backoff returns the pause between attempts n and n+1, from n = 1; nil doubles it
	// from 50 ms to 30 s, with jitter.
	Backoff func(n int) time.Duration
	// CacheEntries is the maximum number of entities whose state is cached; 0 means
	// 4,096, negative means none.
	CacheEntries int
	// CheckRate is how many bytes a second the check of the whole database reads, which
	// runs once a day in the background; 0 means 4 MiB, negative means no check.
	CheckRate int
	// SQLite configures the database.
	SQLite sqlite.Options
	// Seed, if not nil, is the command seed of [Main]: it fills the application from a
	// file and writes a report to out. The host is started.
	Seed func(ctx context.Context, h *Host, file io.Reader, out io.Writer) error
	// Examples are the documents on the start page of [Main]'s API; nil means examples
	// that are derived from the schema.
	Examples []Example
	// Licences, if not empty, is the text that the command licences of [Main] prints:
	// the licences of the linked packages, as cmd/notices writes them.
	Licences string
}

// Host runs an App in this process on one SQLite file. Its methods are safe for
// concurrent use.
type Host struct {
	app      *reventless.App
	opts     Options
	provider *sqlite.Provider
	host     *host.Host

	checking    sync.WaitGroup
	endChecking context.CancelFunc
}

// Open opens the database file of the App at path, creating it if it does not exist.
// Nothing runs before [Host.Start]. The error wraps [driver.ErrUnavailable] when
// another process has the file open, [driver.ErrDamaged] when the file is damaged, and
// [driver.ErrInvalid] when it has another format.
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
	return &Host{app: app, opts: o, provider: provider, host: h, endChecking: func() {}}, nil
}

// Start starts the queues, projections, automations, schedules and tasks, which run
// until [Host.Close], and the check of the database.
func (h *Host) Start(ctx context.Context) error {
	if err := h.host.Start(ctx); err != nil {
		return err
	}
	if c := newChecker(&h.opts, h.provider); c != nil {
		ctx, end := context.WithCancel(context.WithoutCancel(ctx))
		h.endChecking = end
		h.checking.Go(func() { c.run(ctx) })
	}
	return nil
}

// Close waits for running work and closes the database. Everything that is queued,
// scheduled or parked is kept for the next Open.
func (h *Host) Close() error {
	h.endChecking()
	h.checking.Wait()
	return errors.Join(h.host.Close(), h.provider.Close())
}

// Failed returns a channel that is closed when the store has failed for good: the disk
// has reported an error during a commit, or the file is no longer the one at its path.
// Every later write fails. A program that does not use [Main] has to close the host and
// end its process.
func (h *Host) Failed() <-chan struct{} { return h.provider.Failed().Done() }

// Failure returns why the store has failed for good, and nil if it has not.
func (h *Host) Failure() error {
	if err := h.provider.Failure(); err != nil {
		return fmt.Errorf("the store has failed, the process has to end: %w", err)
	}
	return nil
}

// untilFailed returns a context that also ends when the store fails: a call would try
// again as long as its context lasts.
func (h *Host) untilFailed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(h.provider.Failed(), cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// WaitIdle waits until nothing is left to do: all commands are handled, and all their
// events are projected and have been reacted to. It does not wait for planned times.
func (h *Host) WaitIdle(ctx context.Context) error { return h.host.WaitIdle(ctx) }

// Send sends a command. commandID is its idempotency key; empty means a new id. The
// outcome is Pending if the aggregate is asynchronous. A rejection is an outcome, not an
// error. After an error the command may or may not have taken effect: send it again
// with the same id.
func (h *Host) Send(ctx context.Context, commandID string, s message.Send) (message.Outcome, error) {
	o, err := h.host.SendAction(ctx, commandID, driver.Meta{}, s.Erased())
	return message.Outcome(o), err
}

// SendJSON is [Host.Send] for a command that is given by its wire name and its payload
// as JSON. aggregate is "<Plugin>.<Component>", or "<Component>" if that is unique.
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
		return message.Outcome{}, fmt.Errorf("aggregate %s has no command %q; it has %s: %w", name, command, strings.Join(known, ", "), driver.ErrInvalid)
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

// Outcome returns the outcome of an asynchronous command, which is kept for a day. The
// error wraps [driver.ErrNotFound] if it does not exist.
func (h *Host) Outcome(ctx context.Context, target, commandID string) (message.Outcome, error) {
	o, err := h.host.Outcome(ctx, target, commandID)
	return message.Outcome(o), err
}

// Env returns an env that opens all read models and buckets of the App:
// views.Orders.Open(h.Env()).
func (h *Host) Env() plugin.Env { return h.host.Env() }

// Rows yields the rows of a read model as JSON: those of one id, or all if id is empty.
// readModel is "<Plugin>.<Component>", or "<Component>" if that is unique. An error ends
// the sequence.
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

// Events yields the commits of an entity. aggregate is "<Plugin>.<Component>", or
// "<Component>" if that is unique. An error ends the sequence.
func (h *Host) Events(ctx context.Context, aggregate, id string) iter.Seq2[driver.Commit, error] {
	return func(yield func(driver.Commit, error) bool) {
		name, _, err := h.find(aggregate, "aggregate or counter", func(d *component.Definition) bool { return d.Aggregate != nil || d.Counter != nil })
		if err != nil {
			yield(driver.Commit{}, err)
			return
		}
		log, _ := h.host.EventLog(name)
		for c, err := range log.Read(ctx, id, 0, 0) {
			if !yield(c, err) {
				return
			}
		}
	}
}

// Parked returns the dead letters of a component, "<Plugin>.<Component>", or of all
// components if component is empty.
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

// Redrive handles a dead letter again, now. If that fails, it stays parked, and the
// error says why.
func (h *Host) Redrive(ctx context.Context, letterID string) error {
	return h.host.Redrive(ctx, letterID)
}

// Discard deletes a dead letter. The component that parked it skips the message; if it
// is a commit, the component continues with the next commit of the stream.
func (h *Host) Discard(ctx context.Context, letterID string) error {
	return h.host.Discard(ctx, letterID)
}

// Rebuild is the state of a read model that is rebuilt, or that has to be.
type Rebuild struct {
	// ReadModel is "<Plugin>.<Component>".
	ReadModel string
	// Stale is true if the served rows were filled by another version of the read model.
	Stale bool
	// StartedAt is when the rebuild began; zero if it has not begun.
	StartedAt time.Time
	// Done is the number of commits that this process has projected or found projected,
	// and Total the number in the logs, 0 if that is unknown.
	Done, Total int64
	// Rate is the number of commits per second.
	Rate float64
	// Waits says why the rebuild cannot end without an operator; empty if it can.
	Waits string
}

// ErrRebuildWaits reports that a rebuild cannot end: a commit that is in the served rows
// cannot be projected. The served rows stay.
var ErrRebuildWaits = host.ErrWaits

// Rebuild projects all events again, beside the rows that are served and while new
// events continue to be projected, and then exchanges the rows at once. After the end of
// its process the next start continues it. A call starts again from the first commit.
// progress, if not nil, is called after each batch. The error may be [ErrRebuildWaits].
func (h *Host) Rebuild(ctx context.Context, readModel string, progress func(Rebuild)) error {
	return h.onReadModel(readModel, func(name string) error {
		return h.host.Rebuild(ctx, name, func(r host.Rebuild) {
			if progress != nil {
				progress(Rebuild(r))
			}
		})
	})
}

// CancelRebuild ends a rebuild; the served rows stay. Without a rebuild it does nothing.
func (h *Host) CancelRebuild(ctx context.Context, readModel string) error {
	return h.onReadModel(readModel, func(name string) error { return h.host.CancelRebuild(ctx, name) })
}

// Rebuilds returns the read models that are rebuilt or have to be.
func (h *Host) Rebuilds(ctx context.Context) ([]Rebuild, error) {
	all, err := h.host.Rebuilds(ctx)
	out := make([]Rebuild, len(all))
	for i, r := range all {
		out[i] = Rebuild(r)
	}
	return out, err
}

func (h *Host) onReadModel(readModel string, f func(name string) error) error {
	name, _, err := h.find(readModel, "read model", func(d *component.Definition) bool { return d.ReadModel != nil })
	if err != nil {
		return err
	}
	return f(name)
}

// find returns the component of a logical name, or of a component name if that is
// unique.
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
