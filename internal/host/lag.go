package host

import (
	"context"
	"errors"
	"fmt"

	"github.com/reventless-go/reventless/driver"
)

// Lag says how far a component is behind one of its logs.
type Lag struct {
	Component string
	Log       string
	driver.Lag
	// Blocked is true when a parked commit holds up one of its streams.
	Blocked bool
}

// Lags returns how far every consumer is behind, in the order of declaration.
// Consumers whose provider cannot tell are left out.
func (h *Host) Lags(ctx context.Context) ([]Lag, error) {
	var out []Lag
	for _, c := range h.consumers {
		l, ok := c.collector.(driver.Lagger)
		if !ok {
			continue
		}
		lag, err := l.Lag(ctx)
		if err != nil {
			return nil, fmt.Errorf("lag of %s on %s: %w", c.name, c.log, err)
		}
		letters, err := h.letters.List(ctx, c.name, "", 1)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("dead letters of %s", c.name), err)
		}
		out = append(out, Lag{c.name, c.log, lag, len(letters) > 0})
	}
	return out, nil
}
