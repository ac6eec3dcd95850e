package lambdarunner_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aws/internal/lambdarunner"
)

func echo(c call) order { return order{Answer: c.Payload} }

func TestInvokeAnswers(t *testing.T) {
	t.Parallel()
	b := newBench(t, lambdarunner.Options{Env: []string{"A=options", "B=options"}}, false, echo)
	b.function(lambdarunner.Function{Name: "f", Env: []string{"B=function"}, Timeout: 7 * time.Second, Concurrency: 1})
	for i := range 3 {
		want := fmt.Sprintf(`{"n":%d}`, i)
		got, err := b.Invoke(t.Context(), "f", []byte(want))
		if err != nil || string(got) != want {
			t.Fatalf("got %s, %v; want %s", got, err, want)
		}
	}
	calls := b.seen()
	if calls[0].PID != calls[2].PID {
		t.Errorf("the second process is %[2]d, want the first one: %[1]d", calls[0].PID, calls[2].PID)
	}
	if left := calls[0].Left; left <= 0 || left > 7*time.Second {
		t.Errorf("the deadline is in %v, want at most the timeout of 7s", left)
	}
	for name, want := range map[string]string{
		"A": "options", "B": "function", "AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_REGION": "eu-central-1", "AWS_ACCESS_KEY_ID": "test", "HOME": "",
	} {
		if got := calls[0].Env[name]; got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	s := b.Stats()["f"]
	if s.Invocations != 3 || s.Failures != 0 || s.ColdStarts != 1 || len(s.Init) != 1 || s.Init[0] <= 0 || s.Busy <= 0 {
		t.Errorf("stats are %+v", s)
	}
	await(t, "three lines of output", func() bool { return strings.Count(b.log.text(), "f: invoked\n") == 3 })
	if _, err := b.Invoke(t.Context(), "g", nil); err == nil {
		t.Error("a function that does not exist was invoked")
	}
	if _, err := b.Invoke(t.Context(), "f", []byte("{")); err == nil {
		t.Error("a payload that is not JSON was accepted")
	}
}

func TestFailedInvocations(t *testing.T) {
	t.Parallel()
	do := func(c call) order {
		var o order
		if err := json.Unmarshal(c.Payload, &o); err != nil {
			t.Error(err)
		}
		return o
	}
	for _, test := range []struct {
		payload, kind, message string
		restarted              bool
	}{
		{`{"error":"no"}`, "errorString", "no", false},
		{`{"panic":true}`, "string", "ordered", true},
		{`{"exit":true}`, "Runtime.ExitError", "exit status 1", true},
		{`{"hang":true}`, "Sandbox.Timedout", "timed out after 2.00 seconds", true},
	} {
		t.Run(test.payload, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, lambdarunner.Options{}, false, do)
			b.function(lambdarunner.Function{Name: "f", Timeout: 2 * time.Second, Concurrency: 1})
			_, err := b.Invoke(t.Context(), "f", []byte(test.payload))
			var failed *lambdarunner.FunctionError
			if !errors.As(err, &failed) || failed.Type != test.kind || !strings.Contains(failed.Message, test.message) {
				t.Fatalf("got %v", err)
			}
			if _, err := b.Invoke(t.Context(), "f", []byte(`{"answer":1}`)); err != nil {
				t.Fatal(err)
			}
			calls := b.seen()
			if len(calls) != 2 {
				t.Fatalf("the function has %d calls, want 2", len(calls))
			}
			if restarted := calls[0].PID != calls[1].PID; restarted != test.restarted {
				t.Errorf("restarted is %t, want %t", restarted, test.restarted)
			}
			if test.restarted && alive(calls[0].PID) {
				t.Error("the process still runs")
			}
		})
	}
}

func TestProcessThatExitsBeforeItsFirstPoll(t *testing.T) {
	t.Parallel()
	b := newBench(t, lambdarunner.Options{}, false, echo)
	b.function(lambdarunner.Function{Name: "f", Env: []string{"TEST_INIT=exit"}})
	_, err := b.Invoke(t.Context(), "f", []byte(`{}`))
	var failed *lambdarunner.FunctionError
	if !errors.As(err, &failed) || failed.Type != "Runtime.ExitError" || !strings.Contains(failed.Message, "exit status 3") {
		t.Fatalf("got %v", err)
	}
	if s := b.Stats()["f"]; s.Invocations != 0 || s.Failures != 1 || s.Exits != s.ColdStarts || len(s.Init) != 0 {
		t.Errorf("stats are %+v", s)
	}
}

func TestConcurrencyBoundsProcesses(t *testing.T) {
	t.Parallel()
	both := make(chan struct{}, 2)
	b := newBench(t, lambdarunner.Options{}, false, func(c call) order {
		// The first two calls wait for each other.
		if len(c.Payload) < 3 {
			both <- struct{}{}
			for len(both) < 2 {
				runtime.Gosched()
			}
		}
		return echo(c)
	})
	b.function(lambdarunner.Function{Name: "f", Concurrency: 2})
	errs := make(chan error)
	for range 2 {
		go func() {
			_, err := b.Invoke(t.Context(), "f", []byte(`{}`))
			errs <- err
		}()
	}
	if err := errors.Join(<-errs, <-errs); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		go func() {
			_, err := b.Invoke(t.Context(), "f", []byte(`{"more":1}`))
			errs <- err
		}()
	}
	for range 20 {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	pids := map[int]bool{}
	for _, c := range b.seen() {
		pids[c.PID] = true
	}
	if len(pids) != 2 {
		t.Errorf("%d processes, want 2", len(pids))
	}
}

// Goroutines of a function do not run between invocations.
func TestProcessIsFrozenBetweenInvocations(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Skip("the state of a process is read from /proc")
	}
	b := newBench(t, lambdarunner.Options{}, false, echo)
	b.function(lambdarunner.Function{Name: "f", Concurrency: 1})
	for range 2 {
		if _, err := b.Invoke(t.Context(), "f", []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
		await(t, "a stopped process", func() bool {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", b.seen()[0].PID))
			if err != nil {
				t.Fatal(err)
			}
			_, state, _ := strings.Cut(string(text), ") ")
			return strings.HasPrefix(state, "T")
		})
	}
}

func TestCloseKillsRunningInvocations(t *testing.T) {
	t.Parallel()
	began := make(chan call, 1)
	b := newBench(t, lambdarunner.Options{}, false, func(c call) order {
		began <- c
		return order{Hang: true}
	})
	b.function(lambdarunner.Function{Name: "f"})
	failed := make(chan error, 1)
	go func() {
		_, err := b.Invoke(t.Context(), "f", []byte(`{}`))
		failed <- err
	}()
	c := <-began
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; !errors.Is(err, lambdarunner.ErrClosed) {
		t.Errorf("got %v", err)
	}
	if alive(c.PID) {
		t.Error("the process still runs")
	}
	if _, err := b.Invoke(t.Context(), "f", []byte(`{}`)); !errors.Is(err, lambdarunner.ErrClosed) {
		t.Errorf("got the error %v, want ErrClosed", err)
	}
}

func TestInvokeEndsWithItsContext(t *testing.T) {
	t.Parallel()
	began := make(chan struct{}, 1)
	b := newBench(t, lambdarunner.Options{}, false, func(call) order {
		began <- struct{}{}
		return order{Hang: true}
	})
	b.function(lambdarunner.Function{Name: "f"})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	if _, err := b.Invoke(ctx, "f", []byte(`{}`)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// With one process at a time, equal seeds give equal faults.
func TestFaultsRepeatWithTheirSeed(t *testing.T) {
	t.Parallel()
	run := func(seed uint64) string {
		b := newBench(t, lambdarunner.Options{Seed: seed, Faults: lambdarunner.Faults{LoseAnswer: 0.3, Throttle: 0.2, Kill: 0.1}}, false, echo)
		b.function(lambdarunner.Function{Name: "f", Concurrency: 1})
		var what strings.Builder
		for range 40 {
			_, err := b.Invoke(t.Context(), "f", []byte(`{}`))
			var failed *lambdarunner.FunctionError
			switch {
			case err == nil:
				what.WriteByte('.')
			case errors.Is(err, lambdarunner.ErrAnswerLost):
				what.WriteByte('l')
			case errors.Is(err, lambdarunner.ErrThrottled):
				what.WriteByte('t')
			case errors.As(err, &failed):
				what.WriteByte('k')
			default:
				t.Fatal(err)
			}
		}
		s := b.Stats()["f"]
		got := what.String()
		if s.LostAnswers != strings.Count(got, "l") || s.Throttles != strings.Count(got, "t") || s.Kills != strings.Count(got, "k") {
			t.Errorf("the faults are %s, but the stats are %+v", got, s)
		}
		if s.Invocations != 40-s.Throttles || s.Failures != s.LostAnswers+s.Kills || s.ColdStarts != 1+s.Kills && s.ColdStarts != s.Kills {
			t.Errorf("stats are %+v", s)
		}
		return got
	}
	first, second, other := run(1), run(1), run(2)
	if first != second || first == other {
		t.Errorf("the faults are\n%s with seed 1,\n%s with seed 1 again,\n%s with seed 2", first, second, other)
	}
	for _, fault := range "ltk." {
		if !strings.ContainsRune(first, fault) {
			t.Errorf("the faults %s have no %c", first, fault)
		}
	}
}

func TestInvalidDeclarations(t *testing.T) {
	t.Parallel()
	b := newBench(t, lambdarunner.Options{}, false, echo)
	b.function(lambdarunner.Function{Name: "f"})
	for _, f := range []lambdarunner.Function{
		{}, {Name: "f"}, {Name: "g", Timeout: time.Hour}, {Name: "g", Concurrency: -1}, {Name: "g", Env: []string{"A=" + strings.Repeat("a", 4096)}},
	} {
		if err := b.Function(f); err == nil {
			t.Errorf("accepted: %.100v", f)
		}
	}
	if err := b.Queue("f", "http://q/q.fifo", "arn", lambdarunner.QueueMapping{}); err == nil {
		t.Error("a queue was mapped without a client")
	}
	if err := b.Stream("f", "table", lambdarunner.StreamMapping{}); err == nil {
		t.Error("a stream was mapped without a client")
	}
	if s := b.Stats(); len(s) != 1 || s["f"].ColdStarts != 0 {
		t.Errorf("stats are %v", s)
	}
}
