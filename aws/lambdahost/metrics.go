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

// metrics writes a line for each invocation in CloudWatch's embedded metric format.
type metrics struct {
	out                  io.Writer
	app, stack, function string
	now                  func() time.Time

	mu sync.Mutex
}

func newMetrics(out io.Writer, app, stack, function string, now func() time.Time) *metrics {
	return &metrics{out: out, app: app, stack: stack, function: function, now: now}
}

// measured has the metrics of one invocation.
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

// message counts a message that was sent or stored at a time; zero Unix time means unknown.
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

// directives returns the directives that declare the metrics of a line. They declare the
// counts of errors only if they are not zero, because CloudWatch charges for every metric
// with a value in an hour.
func directives(wrong map[string]int64) []directive {
	metrics := []metric{{"Duration", "Milliseconds"}, {"Lag", "Milliseconds"}, {"Messages", "Count"}}
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		if wrong[name] > 0 {
			metrics = append(metrics, metric{name, "Count"})
		}
	}
	return []directive{{Namespace: "Reventless", Dimensions: [][]string{{"App", "Stack", "Function"}}, Metrics: metrics}}
}

// end writes the line. If invocations run concurrently, which does not happen in Lambda,
// they share the counts of the engine.
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
		Damaged   int64
	}{
		App: m.of.app, Stack: m.of.stack, Function: m.of.function, Request: request,
		Duration: math.Round(float64(now.Sub(m.began).Microseconds())) / 1000, Messages: m.messages, Failed: int64(m.failed),
		Retries: after.Retries - m.before.Retries, Conflicts: after.Conflicts - m.before.Conflicts,
		Parked: after.Parked - m.before.Parked, Panics: after.Panics - m.before.Panics, Damaged: after.Damaged - m.before.Damaged,
	}
	if err != nil {
		line.Errors, line.Failed = 1, int64(m.messages)
	}
	if !m.oldest.IsZero() {
		line.Lag = max(now.Sub(m.oldest).Milliseconds(), 0)
	}
	line.Meta = meta{now.UnixMilli(), directives(map[string]int64{
		"Failed": line.Failed, "Errors": line.Errors, "Retries": line.Retries, "Conflicts": line.Conflicts, "Parked": line.Parked, "Panics": line.Panics,
		"Damaged": line.Damaged,
	})}
	text, err := json.Marshal(line)
	if err != nil {
		return // all values have a JSON form
	}
	m.of.mu.Lock()
	defer m.of.mu.Unlock()
	_, _ = m.of.out.Write(append(text, '\n')) // an error cannot be reported
}
