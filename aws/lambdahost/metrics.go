package lambdahost

import (
	"encoding/json"
	"io"
	"maps"
	"math"
	"slices"
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

// directives says which numbers of a line are metrics: those of what goes wrong only
// where it did. CloudWatch takes money for each metric in each hour that has one, and
// none of them is zero.
func directives(wrong map[string]int64) []directive {
	metrics := []metric{{"Duration", "Milliseconds"}, {"Lag", "Milliseconds"}, {"Messages", "Count"}}
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		if wrong[name] > 0 {
			metrics = append(metrics, metric{name, "Count"})
		}
	}
	return []directive{{Namespace: "Reventless", Dimensions: [][]string{{"App", "Stack", "Function"}}, Metrics: metrics}}
}

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
		Failed    int64
		Errors    int64
		Retries   int64
		Conflicts int64
		Parked    int64
		Panics    int64
	}{
		App: m.of.app, Stack: m.of.stack, Function: m.of.function, Request: request,
		Duration: math.Round(float64(now.Sub(m.began).Microseconds())) / 1000, Messages: m.messages, Failed: int64(m.failed),
		Retries: after.Retries - m.before.Retries, Conflicts: after.Conflicts - m.before.Conflicts,
		Parked: after.Parked - m.before.Parked, Panics: after.Panics - m.before.Panics,
	}
	if err != nil {
		line.Errors, line.Failed = 1, int64(m.messages)
	}
	if !m.oldest.IsZero() {
		line.Lag = max(now.Sub(m.oldest).Milliseconds(), 0)
	}
	line.Meta = meta{now.UnixMilli(), directives(map[string]int64{
		"Failed": line.Failed, "Errors": line.Errors, "Retries": line.Retries, "Conflicts": line.Conflicts, "Parked": line.Parked, "Panics": line.Panics,
	})}
	text, err := json.Marshal(line)
	if err != nil {
		return // there is nothing in it that has no JSON
	}
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	_, _ = m.of.out.Write(append(text, '\n')) // there is nowhere to say that it failed
}
