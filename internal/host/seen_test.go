package host_test

import (
	"context"
	"fmt"
	"sync"

	"github.com/reventless-go/reventless/plugin"
)

// seen is a side effect that records its calls.
type seen struct {
	mu     sync.Mutex
	events map[string][]string
	keys   map[string][]string
	fail   func(e jarEvent) error
}

func (s *seen) effect(_ context.Context, env plugin.Env, e jarEvent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.events == nil {
		s.events, s.keys = map[string][]string{}, map[string][]string{}
	}
	s.events[e.EntityID] = append(s.events[e.EntityID], fmt.Sprintf("%T%v", e.Data, e.Data))
	s.keys[e.EntityID] = append(s.keys[e.EntityID], env.IdempotencyKey())
	if s.fail != nil {
		return s.fail(e)
	}
	return nil
}

// of returns the events of an entity.
func (s *seen) of(id string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.events[id]
}

// keysOf returns the idempotency keys of an entity's calls.
func (s *seen) keysOf(id string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.keys[id]
}
