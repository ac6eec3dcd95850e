package local_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/driver/memory"
	"github.com/reventless-go/reventless/internal/faults"
	"github.com/reventless-go/reventless/internal/host"
	"github.com/reventless-go/reventless/local"
	"github.com/reventless-go/reventless/local/sqlite"
	"github.com/reventless-go/reventless/message"
)

// client is where a test sends commands.
type client interface {
	Send(ctx context.Context, commandID string, s message.Send) (message.Outcome, error)
}

// skewed is a host of the engine with a client whose clock is wrong.
type skewed struct {
	*host.Host
	now func() time.Time
}

func (s skewed) Send(ctx context.Context, commandID string, send message.Send) (message.Outcome, error) {
	o, err := s.SendAction(ctx, commandID, driver.Meta{Time: s.now()}, send.Erased())
	return message.Outcome(o), err
}

// world is a place to run cells on, with access to the log behind it.
type world struct {
	hosts  []client
	log    func() driver.EventLog
	faults *faults.Provider // nil where faults cannot be injected
}

var worlds = map[string]func(t *testing.T) world{
	"local":          localWorld,
	"memory/1 host":  func(t *testing.T) world { return providerWorld(t, memory.New(nil), 1) },
	"memory/4 hosts": func(t *testing.T) world { return providerWorld(t, memory.New(nil), 4) },
	"sqlite/1 host":  func(t *testing.T) world { return providerWorld(t, openSQLite(t), 1) },
	"sqlite/4 hosts": func(t *testing.T) world { return providerWorld(t, openSQLite(t), 4) },
}

func openSQLite(t *testing.T) driver.PullProvider {
	t.Helper()
	p, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "app.db"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// localWorld is one local.Host whose clock jumps by hours at every reading.
func localWorld(t *testing.T) world {
	t.Helper()
	path := filepath.Join(t.TempDir(), "app.db")
	clock := jumping()
	h, err := local.Open(t.Context(), cells(), path, &local.Options{Now: clock, Logger: silent, Backoff: atOnce})
	if err != nil {
		t.Fatal(err)
	}
	closed := sync.OnceFunc(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(closed)
	return world{hosts: []client{h}, log: func() driver.EventLog {
		closed()
		p, err := sqlite.Open(t.Context(), path, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		return openLog(t, p)
	}}
}

func openLog(t *testing.T, p driver.PullProvider) driver.EventLog {
	t.Helper()
	l, err := p.OpenEventLog(t.Context(), "Test.Cell")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// jumping returns a clock that is wrong by a different number of hours at every reading.
func jumping() func() time.Time {
	var n atomic.Int64
	start := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	return func() time.Time { return start.Add(time.Duration(n.Add(1)*7919%48-24) * time.Hour) }
}

// providerWorld is some hosts on one provider, each with a clock hours off.
func providerWorld(t *testing.T, p driver.PullProvider, hosts int) world {
	t.Helper()
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	w := world{log: func() driver.EventLog { return openLog(t, p) }, faults: faults.New(p, nil)}
	for i := range hosts {
		now := func() time.Time { return time.Now().Add(time.Duration(i*7-10) * time.Hour) }
		h, err := host.Open(t.Context(), cells().Assembled(), w.faults, &host.Options{Now: now, Logger: silent, Backoff: atOnce})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := h.Close(); err != nil {
				t.Error(err)
			}
		})
		w.hosts = append(w.hosts, skewed{h, now})
	}
	return w
}

// asked is the input of an operation, and answer is its output.
type asked struct {
	entity  string
	command cellCommand
}

type answer struct {
	known  bool // false: it is unknown whether it took effect
	code   string
	events int
	state  cellState // the answer to read
}

// cellModel defines the correct answers of a cell to sequential operations.
var cellModel = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		byEntity := map[string][]porcupine.Operation{}
		for _, o := range history {
			id := o.Input.(asked).entity
			byEntity[id] = append(byEntity[id], o)
		}
		var out [][]porcupine.Operation
		for _, h := range byEntity {
			out = append(out, h)
		}
		return out
	},
	Init: func() any { return cellModelState{} },
	Step: func(state, input, output any) (bool, any) {
		return state.(cellModelState).step(input.(asked).command, output.(answer))
	},
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%#v -> %+v", input, output) },
}

type cellModelState struct {
	value, sum int
	names      string // sorted, each followed by a comma
}

func (s cellModelState) step(c cellCommand, out answer) (bool, any) {
	accepted, rejected := !out.known || out.code == "", !out.known || out.code != ""
	switch c := c.(type) {
	case write:
		s.value = c.Value
		return accepted, s
	case swap:
		if s.value != c.Old {
			return rejected, s
		}
		s.value = c.New
		return accepted, s
	case add:
		s.sum += c.N
		return accepted, s
	case take:
		if strings.Contains(s.names, c.Name+",") {
			return rejected, s
		}
		names := append(strings.SplitAfter(s.names, ","), c.Name+",")
		slices.Sort(names)
		s.names = strings.Join(names, "")
		return accepted, s
	case drop:
		had := strings.Contains(s.names, c.Name+",")
		s.names = strings.Replace(s.names, c.Name+",", "", 1)
		return !out.known || out.code == "" && (out.events == 1) == had, s
	case read:
		names := slices.Sorted(slices.Values(out.state.Names))
		joined := ""
		for _, n := range names {
			joined += n + ","
		}
		return !out.known || s == cellModelState{out.state.Value, out.state.Sum, joined}, s
	}
	return false, s
}

func TestHistoriesAreLinearizable(t *testing.T) {
	t.Parallel()
	for name, open := range worlds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			random := randomSource(t)
			w := open(t)
			if w.faults != nil {
				injectFaults(w.faults, random)
			}
			h := &history{t: t, w: w, accepted: map[string]message.Outcome{}}
			var wg sync.WaitGroup
			for i := range 6 {
				own := rand.New(rand.NewPCG(random.Uint64(), 0))
				wg.Go(func() { h.client(i, own) })
			}
			wg.Wait()
			if t.Failed() {
				return
			}
			result, info := porcupine.CheckOperationsVerbose(cellModel, h.operations, patience)
			if result != porcupine.Ok {
				file := filepath.Join(t.ArtifactDir(), "history.html")
				err := porcupine.VisualizePath(cellModel, info, file)
				t.Errorf("the history is %v; see %s (%v)", result, file, err)
			}
			h.checkLog()
			t.Logf("%d operations, %d of them with an unknown result; %d repeated, %d failed and sent again", len(h.operations), h.unknown, h.repeated, h.failed)
		})
	}
}

// injectFaults makes some appends and loads fail, before or after they take effect.
func injectFaults(p *faults.Provider, random *rand.Rand) {
	unknown := errors.New("connection reset")
	for _, err := range []error{driver.ErrUnavailable, driver.ErrThrottled, unknown, context.DeadlineExceeded} {
		for range 4 {
			p.Inject(faults.Rule{Op: "EventLog.Append", Skip: random.IntN(200), Err: err, After: random.IntN(2) == 0})
			p.Inject(faults.Rule{Op: "EventLog.Load", Skip: random.IntN(20), Err: err})
			p.Inject(faults.Rule{Op: "EventLog.Read", Skip: random.IntN(60), Yield: random.IntN(2), Err: err})
		}
	}
}

// history has the operations of the clients and their answers.
type history struct {
	t     *testing.T
	w     world
	clock atomic.Int64 // orders the starts and ends of the operations

	mu                        sync.Mutex
	operations                []porcupine.Operation
	accepted                  map[string]message.Outcome // by command id, with events
	unknown, repeated, failed int
}

func (h *history) client(n int, random *rand.Rand) {
	names := []string{"ada", "bob", "eve"}
	for i := range 60 {
		var c cellCommand
		switch random.IntN(10) {
		case 0, 1:
			c = write{random.IntN(4)}
		case 2, 3:
			c = swap{random.IntN(4), random.IntN(4)}
		case 4:
			c = add{1 + random.IntN(3)}
		case 5, 6:
			c = take{names[random.IntN(3)]}
		case 7:
			c = drop{names[random.IntN(3)]}
		default:
			c = read{}
		}
		in := asked{fmt.Sprintf("cell%d", random.IntN(3)), c}
		id := fmt.Sprintf("client%d-%d", n, i)
		op := porcupine.Operation{ClientId: n, Input: in, Call: h.clock.Add(1)}
		out := h.send(id, in, random)
		op.Output, op.Return = out, h.clock.Add(1)
		if !out.known {
			op.Return = math.MaxInt64
		}
		h.mu.Lock()
		h.operations = append(h.operations, op)
		if !out.known {
			h.unknown++
		}
		h.mu.Unlock()
	}
}

// send sends a command through a random host. It sends it again after a failure and
// sometimes also after success.
func (h *history) send(id string, in asked, random *rand.Rand) answer {
	ctx, cancel := context.WithTimeout(h.t.Context(), patience)
	defer cancel()
	var first message.Outcome
	for attempt, answers := 0, 0; attempt < 4; attempt++ {
		o, err := h.w.hosts[random.IntN(len(h.w.hosts))].Send(ctx, id, cell.To(in.entity, in.command))
		h.mu.Lock()
		switch {
		case err != nil:
			h.failed++
		case answers > 0:
			h.repeated++
			if o.Kind != first.Kind || o.SequenceNr != first.SequenceNr || o.EventCount != first.EventCount {
				h.t.Errorf("command %s was answered with %+v, and then with %+v", id, first, o)
			}
		case o.Kind == driver.Accepted && o.EventCount > 0:
			h.accepted[id] = o
		}
		h.mu.Unlock()
		if err != nil && !errors.Is(err, context.DeadlineExceeded) && strings.Contains(err.Error(), "internal") {
			h.t.Errorf("command %s: %v", id, err)
		}
		if err != nil {
			continue
		}
		if answers++; answers == 1 {
			first = o
		}
		// Only commands with events are in the log and get the same answer again.
		if first.EventCount == 0 || random.IntN(5) > 0 {
			break
		}
	}
	out := answer{known: first.Kind != "", code: first.Code, events: first.EventCount}
	if first.Code == "State" {
		if err := json.Unmarshal(first.Detail, &out.state); err != nil {
			h.t.Errorf("read: %v in %s", err, first.Detail)
		}
	}
	return out
}

// checkLog compares what was acknowledged with what is stored.
func (h *history) checkLog() {
	h.t.Helper()
	where := map[string]driver.Commit{}
	last := map[string]uint64{}
	for c, err := range h.w.log().Scan(h.t.Context(), 0, 1) {
		if err != nil {
			h.t.Fatal(err)
		}
		if c.SequenceNr != last[c.Stream]+1 {
			h.t.Errorf("%s: commit %d follows %d", c.Stream, c.SequenceNr, last[c.Stream])
		}
		last[c.Stream] = c.SequenceNr
		for _, a := range c.Commands {
			if other, twice := where[a.Meta.ID]; twice {
				h.t.Errorf("command %s is in commits %d and %d of %s", a.Meta.ID, other.SequenceNr, c.SequenceNr, c.Stream)
			}
			where[a.Meta.ID] = c
		}
	}
	for id, o := range h.accepted {
		if c, ok := where[id]; !ok || c.Stream != o.EntityID || c.SequenceNr != o.SequenceNr {
			h.t.Errorf("command %s was acknowledged with %+v, but the log has it in commit %d of %q", id, o, c.SequenceNr, c.Stream)
		}
	}
}
