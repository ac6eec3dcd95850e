package core

import (
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/reventless-go/reventless/internal/ids"
)

// Options configure a Host; nil and zero fields are the defaults.
type Options struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// NewID returns a new command id; nil generates UUIDs of version 7.
	NewID func() string
	// Logger receives the log; nil is slog.Default.
	Logger *slog.Logger
	// Backoff is the pause after attempt n, which counts from 1; nil doubles from
	// 50 ms to 30 s, with jitter.
	Backoff func(n int) time.Duration
	// MaxAttempts is how many attempts a message has before it is parked; 0 is 5.
	MaxAttempts int
	// CacheEntries is how many entities of an aggregate are kept in memory, each with
	// its state and a few hundred command ids; 0 is 4,096, a negative number disables
	// the cache.
	CacheEntries int
	// Budget bounds the handling of a command whose context has no deadline; 0
	// is 30 seconds.
	Budget time.Duration
	// OutcomeTTL is how long the outcome of an asynchronous command is kept; 0 is
	// 24 hours.
	OutcomeTTL time.Duration
	// Rollout is how long a deployment takes. A message that this code does not know is
	// retried until it is that old, since newer code may handle it, then parked. 0
	// parks it immediately.
	Rollout time.Duration
	// Poll is the interval at which a wait checks what other processes have done; 0 is
	// one second.
	Poll time.Duration
}

func (o *Options) withDefaults() Options {
	var out Options
	if o != nil {
		out = *o
	}
	if out.Now == nil {
		out.Now = time.Now
	}
	if out.NewID == nil {
		out.NewID = func() string { return ids.New(out.Now()) }
	}
	if out.Logger == nil {
		out.Logger = slog.Default()
	}
	if out.Backoff == nil {
		out.Backoff = backoff
	}
	if out.MaxAttempts <= 0 {
		out.MaxAttempts = 5
	}
	if out.CacheEntries == 0 {
		out.CacheEntries = 4096
	}
	if out.Budget <= 0 {
		out.Budget = 30 * time.Second
	}
	if out.OutcomeTTL <= 0 {
		out.OutcomeTTL = 24 * time.Hour
	}
	if out.Poll <= 0 {
		out.Poll = time.Second
	}
	return out
}

func backoff(n int) time.Duration {
	d := min(50*time.Millisecond<<min(n-1, 10), 30*time.Second)
	return d/2 + rand.N(d/2)
}
