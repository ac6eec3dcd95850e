package effects

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/host/core"
	"github.com/reventless-go/reventless/schedule"
)

// slow is the delay with which a message begins a new chain: a process that plans its own
// next step is no runaway loop.
const slow = time.Second

// soon reports whether a schedule fires once, and not later than now: its command belongs
// to the chain of the message that creates the schedule.
func (e *Effects) soon(expression, zone string) bool {
	rate, err := schedule.Parse(expression, zone)
	due, once := rate.Time()
	return err == nil && once && !due.After(e.Core.Now())
}

// park parks a command whose depth exceeds the limit of the App; tooDeep reports whether
// it does.
func (e *Effects) park(ctx context.Context, c driver.Command) (tooDeep bool, err error) {
	if c.Meta.Depth <= e.App.MaxDepth {
		return false, nil
	}
	return true, e.Core.Park(ctx, core.CommandLetter(c.Target, c), e.tooDeep(ctx, c.Meta))
}

// tooDeep returns the reason for parking a command, with the last links of its chain.
func (e *Effects) tooDeep(ctx context.Context, m driver.Meta) error {
	const links = 6
	chain := []string{"command " + m.ID}
	for cause := m.CausationID; cause != "" && len(chain) < links; {
		chain = append(chain, cause)
		cause = e.causeOf(ctx, cause)
	}
	return fmt.Errorf("it is message %d of a chain, more than %d cause one another without a delay of a second: %s: %w",
		m.Depth, e.App.MaxDepth, strings.Join(chain, " <- "), driver.ErrInvalid)
}

// causeOf returns the event that led to the command of an event; empty if it is not
// known.
func (e *Effects) causeOf(ctx context.Context, event string) string {
	stream, place, _ := cutLast(event, "/")
	log, stream, _ := strings.Cut(stream, "/")
	number, index, _ := strings.Cut(place, ".")
	n, err1 := strconv.ParseUint(number, 10, 64)
	i, err2 := strconv.Atoi(index)
	if e.Logs[log] == nil || err1 != nil || err2 != nil || n == 0 {
		return ""
	}
	for c, err := range e.Logs[log].Read(ctx, stream, n-1, n) {
		if err != nil {
			return ""
		}
		for _, a := range c.Commands {
			if i -= a.EventCount; i < 0 {
				return a.Meta.CausationID
			}
		}
	}
	return ""
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}
