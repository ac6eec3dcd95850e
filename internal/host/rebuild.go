package host

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host/consumers"
	"github.com/reventless-go/reventless/internal/host/core"
)

// record is the state of a read model that [driver.Shadow] stores.
type record struct {
	// Version, SubID and OwnRow are those of the declaration that filled the served rows.
	Version string      `json:"version"`
	SubID   string      `json:"subId,omitempty"`
	OwnRow  bool        `json:"ownRow,omitempty"`
	Rebuild *rebuilding `json:"rebuild,omitempty"`
}

// rebuilding is a rebuild that has begun and not ended.
type rebuilding struct {
	Version   string    `json:"version"`
	StartedAt time.Time `json:"startedAt"`
	// Swapped is true once the new rows are served.
	Swapped bool `json:"swapped,omitempty"`
	// CatchUp is true if commits were settled while the served rows could only be read.
	CatchUp bool `json:"catchUp,omitempty"`
	// Waits says why the rows cannot be swapped.
	Waits string `json:"waits,omitempty"`
}

// Rebuild is the state of a read model that is rebuilt, or that has to be.
type Rebuild struct {
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

// ErrWaits reports that a rebuild cannot end: a commit that is in the served rows cannot
// be projected. The served rows stay.
var ErrWaits = errors.New("the rebuild waits for an operator")

// rebuild rebuilds one read model.
type rebuild struct {
	h       *Host
	name    string
	version string
	spec    driver.TableSpec
	shadow  driver.Shadow
	served  []*consumers.Consumer
	fill    []*consumers.Consumer // of the shadow

	running chan struct{} // has an element while this process works on it

	mu     sync.Mutex
	cancel context.CancelFunc // of the last run
	ended  bool               // an operator has cancelled it
	state  Rebuild
	began  time.Time
}

func (h *Host) newRebuild(name string, m *component.ReadModel) *rebuild {
	return &rebuild{h: h, name: name, version: m.Version, spec: h.tables[name], shadow: h.effects.Rows[name].Shadow(), running: make(chan struct{}, 1)}
}

// add adds a log from which the read model is filled.
func (r *rebuild) add(spec consumers.Spec, m *component.ReadModel, served *consumers.Consumer) {
	r.served = append(r.served, served)
	r.fill = append(r.fill, consumers.NewShadowProjector(spec, m, r.shadow))
}

// alone waits until nothing else in this process works on the rebuild.
func (r *rebuild) alone(ctx context.Context) (release func(), err error) {
	select {
	case r.running <- struct{}{}:
		return func() { <-r.running }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (r *rebuild) record(ctx context.Context) (rec record, stored bool, err error) {
	data, err := r.shadow.Record(ctx)
	if err == nil && data != nil {
		err = json.Unmarshal(data, &rec)
	}
	if err != nil {
		return rec, false, fmt.Errorf("read model %s: record: %w", r.name, err)
	}
	return rec, data != nil, nil
}

// filled is the record of rows that this version has filled.
func (r *rebuild) filled() record {
	return record{Version: r.version, SubID: r.spec.SubID, OwnRow: r.spec.OwnRow}
}

// fits reports whether this version can change the served rows.
func (r *rebuild) fits(rec record) bool {
	return rec.SubID == r.spec.SubID && rec.OwnRow == r.spec.OwnRow
}

func (r *rebuild) setRecord(ctx context.Context, rec record) error {
	data, err := json.Marshal(rec)
	if err == nil {
		err = r.shadow.SetRecord(ctx, data)
	}
	return err
}

// Rebuild fills a read model again from the logs of its sources, beside the rows that are
// served, and then exchanges the rows. It is durable: after its process ends, the next
// start continues it. A call starts again from the first commit. progress, if not nil, is
// called after each batch. The error is [ErrWaits] if the rows cannot be exchanged, since a
// commit that is in the served rows blocks a stream of the new ones.
func (h *Host) Rebuild(ctx context.Context, name string, progress func(Rebuild)) error {
	r := h.rebuilds[name]
	if r == nil {
		return fmt.Errorf("no read model %q: %w", name, driver.ErrNotFound)
	}
	return r.run(ctx, true, progress)
}

// CancelRebuild ends a rebuild and removes what it has filled. Without a rebuild it does
// nothing. The next start rebuilds rows of another version again. A rebuild whose rows are
// already served cannot be cancelled: it is finished.
func (h *Host) CancelRebuild(ctx context.Context, name string) error {
	r := h.rebuilds[name]
	if r == nil {
		return fmt.Errorf("no read model %q: %w", name, driver.ErrNotFound)
	}
	r.mu.Lock()
	if r.ended = true; r.cancel != nil {
		r.cancel()
	}
	r.mu.Unlock()
	release, err := r.alone(ctx)
	if err != nil {
		return err
	}
	defer release()
	rec, _, err := r.record(ctx)
	if err != nil || rec.Rebuild == nil {
		return err
	}
	if rec.Rebuild.Swapped {
		return r.finish(ctx, rec)
	}
	if err := r.shadow.Drop(ctx); err != nil {
		return fmt.Errorf("read model %s: cancel the rebuild: %w", name, err)
	}
	rec.Rebuild = nil
	return r.setRecord(ctx, rec)
}

// Rebuilds returns the read models that are rebuilt or have to be.
func (h *Host) Rebuilds(ctx context.Context) ([]Rebuild, error) {
	var out []Rebuild
	for name, d := range h.app.All {
		r := h.rebuilds[name]
		if d.ReadModel == nil || r == nil {
			continue
		}
		rec, stored, err := r.record(ctx)
		if errors.Is(err, driver.ErrUnsupported) {
			continue
		}
		if err != nil {
			return nil, err
		}
		state := r.status()
		state.Stale = stored && rec.Version != r.version
		if rec.Rebuild != nil {
			state.StartedAt, state.Waits = rec.Rebuild.StartedAt, rec.Rebuild.Waits
		}
		if state.Stale || rec.Rebuild != nil {
			out = append(out, state)
		}
	}
	return out, nil
}

func (r *rebuild) status() Rebuild {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.state
	s.ReadModel = r.name
	if elapsed := r.h.core.Now().Sub(r.began).Seconds(); elapsed > 0 {
		s.Rate = float64(s.Done) / elapsed
	}
	return s
}

// start continues a rebuild that has not ended, and rebuilds rows of another version.
// Until the swap, rows that this version cannot change are only read.
func (r *rebuild) start(ctx context.Context) error {
	rec, stored, err := r.record(ctx)
	if errors.Is(err, driver.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	if !stored {
		return r.setRecord(ctx, r.filled())
	}
	stale := rec.Version != r.version
	if !stale && rec.Rebuild == nil {
		return nil
	}
	if stale {
		r.h.core.Log.Warn("the rows were filled by another version and are rebuilt", "component", r.name, "filledBy", rec.Version, "version", r.version)
	}
	for _, c := range r.served {
		c.SetPaused(!r.fits(rec))
	}
	done := false
	r.h.runWorker(source{worker: "rebuild of " + r.name, receiver: "Rebuild/" + r.name, work: func(ctx context.Context) (int, time.Time, error) {
		if done {
			return 0, time.Time{}, nil
		}
		err := r.run(ctx, false, nil)
		if done = err == nil || errors.Is(err, ErrWaits); done {
			return 1, time.Time{}, nil
		}
		return 0, time.Time{}, err
	}})
	return nil
}

// run rebuilds the read model: from the beginning if fresh is set, else from where the
// last run ended, and only if there is a reason.
func (r *rebuild) run(ctx context.Context, fresh bool, progress func(Rebuild)) error {
	release, err := r.alone(ctx)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r.mu.Lock()
	r.cancel, r.ended = cancel, r.ended && !fresh
	ended := r.ended
	r.mu.Unlock()
	if ended {
		return nil
	}
	rec, _, err := r.record(ctx)
	if err != nil {
		return err
	}
	b := rec.Rebuild
	switch {
	case b != nil && b.Swapped:
		if err := r.finish(ctx, rec); err != nil || !fresh {
			return err
		}
		rec.Rebuild = nil
	case b == nil && !fresh && rec.Version == r.version:
		return nil
	case b != nil && !fresh && b.Version == r.version && b.Waits == "":
		r.h.core.Log.Info("the rebuild continues", "component", r.name)
		return r.complete(ctx, rec, progress)
	}
	// The rows of the shadow are useless: an earlier rebuild or another version filled it.
	if err := r.shadow.Drop(ctx); err != nil {
		return fmt.Errorf("read model %s: rebuild: %w", r.name, err)
	}
	rec.Rebuild = &rebuilding{Version: r.version, StartedAt: r.h.core.Now()}
	if err := r.setRecord(ctx, rec); err != nil {
		return fmt.Errorf("read model %s: rebuild: %w", r.name, err)
	}
	return r.complete(ctx, rec, progress)
}

// complete fills the shadow, swaps and finishes.
func (r *rebuild) complete(ctx context.Context, rec record, progress func(Rebuild)) error {
	r.begin(ctx)
	for _, c := range r.fill {
		if err := c.Replay(ctx, 0, 1, func(n int) { r.progress(n, progress) }); err != nil {
			return fmt.Errorf("read model %s: rebuild: %w", r.name, err)
		}
	}
	changed, after, err := r.swap(ctx, rec)
	if err != nil {
		return fmt.Errorf("read model %s: rebuild: %w", r.name, err)
	}
	r.h.core.Log.Info("the read model is rebuilt", "component", r.name, "changedRows", changed, "commits", r.status().Done)
	return r.finish(ctx, after)
}

func (r *rebuild) begin(ctx context.Context) {
	var total int64
	for _, c := range r.fill {
		counter, ok := c.Reader.(driver.CommitCounter)
		n, err := int64(0), error(nil)
		if ok {
			n, err = counter.CountCommits(ctx)
		}
		if total += n; !ok || err != nil {
			total = 0
			break
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state, r.began = Rebuild{Total: total}, r.h.core.Now()
}

func (r *rebuild) progress(n int, report func(Rebuild)) {
	r.mu.Lock()
	r.state.Done += int64(n)
	r.mu.Unlock()
	if report != nil {
		report(r.status())
	}
}

const (
	// maxSwaps bounds the attempts at a swap if other processes keep projecting.
	maxSwaps = 20
	// maxBlocked is the number of attempts that may find a blocked stream. After them the
	// rebuild waits for an operator.
	maxBlocked = 6
)

// swap exchanges the rows. In this process nothing is projected meanwhile, so that the
// shadow has to apply what was projected since it was filled, and no more.
func (r *rebuild) swap(ctx context.Context, rec record) (changed int, after record, err error) {
	after = r.filled()
	after.Rebuild = &rebuilding{Version: r.version, StartedAt: rec.Rebuild.StartedAt, Swapped: true, CatchUp: !r.fits(rec)}
	data, err := json.Marshal(after)
	if err != nil {
		return 0, after, err
	}
	logs := make([]string, len(r.fill))
	for i, c := range r.fill {
		logs[i] = c.Log
	}
	for attempt := 0; ; attempt++ {
		changed, err = r.trySwap(ctx, data, logs, attempt > 2)
		var behind *driver.BehindError
		switch {
		case err == nil:
			return changed, after, nil
		case !errors.As(err, &behind), attempt == maxSwaps:
			return 0, after, err
		case len(behind.Blocked) > 0 && attempt < maxBlocked:
			// The served rows may be about to be blocked by the same commit.
			if !core.Pause(ctx, r.h.core.Backoff(attempt+1)) {
				return 0, after, ctx.Err()
			}
		case len(behind.Blocked) > 0:
			s := behind.Blocked[0]
			rec.Rebuild.Waits = fmt.Sprintf("%d streams are blocked by commits that the served rows have; the first is %s/%s", len(behind.Blocked), s.Log, core.Clip(s.Stream))
			r.h.core.Log.Error("the rebuild waits", "component", r.name, "reason", rec.Rebuild.Waits)
			return 0, after, errors.Join(fmt.Errorf("%w: %s", ErrWaits, rec.Rebuild.Waits), r.setRecord(ctx, rec))
		}
	}
}

// trySwap swaps, or applies the commits that the shadow lacks. With hold, projections of
// this process wait, and both are done.
func (r *rebuild) trySwap(ctx context.Context, data []byte, logs []string, hold bool) (changed int, err error) {
	if hold {
		for _, c := range r.served {
			defer c.Hold()()
		}
	}
	for range 2 {
		changed, err = r.shadow.Swap(ctx, data, logs)
		var behind *driver.BehindError
		if !errors.As(err, &behind) || len(behind.Blocked) > 0 {
			return changed, err
		}
		for _, s := range behind.Behind {
			for _, c := range r.fill {
				if c.Log != s.Log {
					continue
				}
				if err := c.CatchUp(ctx, s.Stream); err != nil && !errors.Is(err, ErrBlocked) {
					return 0, err
				}
			}
		}
		if !hold {
			return 0, err
		}
	}
	return changed, err
}

// finish ends a rebuild after the swap: it applies the commits that were delivered while
// the served rows were blocked or only read, and removes the dead letters of commits that
// are applied now.
func (r *rebuild) finish(ctx context.Context, rec record) error {
	for _, c := range r.served {
		if c.SetPaused(false); rec.Rebuild.CatchUp {
			if err := c.Replay(ctx, 0, 1, func(int) {}); err != nil {
				return fmt.Errorf("read model %s: rebuild: catch up: %w", r.name, err)
			}
		}
	}
	if err := r.h.removeStale(ctx, r.name); err != nil {
		return fmt.Errorf("read model %s: rebuild: dead letters: %w", r.name, err)
	}
	rec.Rebuild = nil
	if err := r.setRecord(ctx, rec); err != nil {
		return fmt.Errorf("read model %s: rebuild: %w", r.name, err)
	}
	return nil
}
