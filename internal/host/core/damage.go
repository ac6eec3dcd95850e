package core

import (
	"errors"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
)

const (
	// damageInterval is how long a damaged place is not reported again.
	damageInterval = time.Hour
	// maxDamaged bounds the places that are remembered.
	maxDamaged = 4096
)

// damaged remembers when a damaged place was last reported.
type damaged struct {
	mu       sync.Mutex
	reported map[place]time.Time
}

type place struct {
	table, name, key string
	sequenceNr       uint64
}

// ReportDamage logs and counts the damaged data that err is about, see
// [driver.ErrDamaged]; other errors are ignored. A place that is met again within an hour
// is neither logged nor counted again.
func (c *Core) ReportDamage(err error) {
	if !errors.Is(err, driver.ErrDamaged) {
		return
	}
	known := false
	for _, e := range flatten(err, nil) {
		if d, ok := e.(*driver.DamageError); ok { //nolint:errorlint // the chain is walked here
			known = true
			c.reportDamage(place{d.Table, d.Name, Clip(d.Key), d.SequenceNr}, d)
		}
	}
	if !known {
		c.reportDamage(place{key: Digest([]byte(err.Error()), "")}, err)
	}
}

func (c *Core) reportDamage(at place, err error) {
	now := c.Now()
	c.damaged.mu.Lock()
	last, again := c.damaged.reported[at]
	if again = again && now.Sub(last) < damageInterval && !now.Before(last); !again {
		if c.damaged.reported == nil || len(c.damaged.reported) >= maxDamaged {
			c.damaged.reported = map[place]time.Time{}
		}
		c.damaged.reported[at] = now
	}
	c.damaged.mu.Unlock()
	if again {
		return
	}
	c.Stats.Damaged.Add(1)
	c.Log.Error("stored data is damaged", "table", at.table, "name", at.name, "key", at.key, "sequenceNr", at.sequenceNr, "error", ForLog(err))
}
