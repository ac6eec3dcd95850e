package host

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
)

// objectBatch is how many changes of objects are received together.
const objectBatch = 16

// objectsAtOnce bounds how many objects a task works on at a time: they may be
// large.
const objectsAtOnce = 4

// handleObjects runs a task on objects: those of one key in order, others at the
// same time, so that one that takes long does not take the time of all.
func (h *Host) handleObjects(ctx context.Context, name string, d *component.Definition, deliveries []driver.Delivery[driver.ObjectEvent]) []driver.Settlement {
	settlements := make([]driver.Settlement, len(deliveries))
	var keys []string
	of := map[string][]int{}
	for i, del := range deliveries {
		key := del.Message.Key
		if of[key] == nil {
			keys = append(keys, key)
		}
		of[key] = append(of[key], i)
	}
	limit := make(chan struct{}, objectsAtOnce)
	var wg sync.WaitGroup
	for _, key := range keys {
		limit <- struct{}{}
		wg.Go(func() {
			defer func() { <-limit }()
			retrying := false
			for _, i := range of[key] {
				if s := &settlements[i]; retrying {
					*s = driver.Settlement{ID: deliveries[i].ID, Retry: true}
				} else {
					*s = h.settleObject(ctx, name, d, deliveries[i])
					retrying = s.Retry
				}
			}
		})
	}
	wg.Wait()
	return settlements
}

func (h *Host) settleObject(ctx context.Context, name string, d *component.Definition, del driver.Delivery[driver.ObjectEvent]) driver.Settlement {
	s := driver.Settlement{ID: del.ID}
	err := h.handleObject(ctx, name, d, del.Message)
	switch {
	case err == nil:
	case done(ctx, err) || transient(err) || !h.givenUp(del.Attempt, err):
		s.Retry, s.After = true, h.opts.Backoff(del.Attempt)
		h.log.Warn("object is tried again", "task", name, "key", clip(del.Message.Key), "attempt", del.Attempt, "error", logged(err))
	case h.parkObject(ctx, name, del, err) != nil:
		s.Retry, s.After = true, h.opts.Backoff(del.Attempt)
	}
	return s
}

func (h *Host) handleObject(ctx context.Context, name string, d *component.Definition, e driver.ObjectEvent) error {
	t := d.Task
	if !strings.HasPrefix(e.Key, t.Prefix) || !strings.HasSuffix(e.Key, t.Suffix) {
		return nil
	}
	f := t.Created
	if e.Kind == driver.ObjectRemoved {
		f = t.Removed
	}
	if f == nil {
		return nil
	}
	key := fmt.Sprintf("%s/%s/%s@%s", name, e.Kind, e.Key, e.Version)
	return h.runTask(ctx, name, d, key, time.Time{}, func(ctx context.Context, env component.Env) ([]component.Action, error) {
		return f(ctx, env, component.Object{Key: e.Key, Version: e.Version})
	})
}

// runTask calls a function of a task and performs its actions.
func (h *Host) runTask(ctx context.Context, name string, d *component.Definition, key string, at time.Time, f func(context.Context, component.Env) ([]component.Action, error)) error {
	err := attend(ctx, func() error {
		uses := append([]*component.Definition{}, d.Task.Uses...)
		if d.Task.Bucket != nil {
			uses = append(uses, d.Task.Bucket)
		}
		actions, err := f(ctx, &env{host: h, name: name, uses: uses, key: key})
		if err != nil {
			return err
		}
		for i, a := range actions {
			if a.Target != nil && !slices.Contains(d.Task.Targets, a.Target) {
				return fmt.Errorf("action %d addresses %s, which the task does not declare in Sends: %w", i+1, a.Target.Name, driver.ErrInvalid)
			}
		}
		_, err = h.perform(ctx, origin{component: name, key: key, meta: driver.Meta{ID: key, CorrelationID: key}, at: at}, actions)
		return err
	})
	if err != nil {
		h.logPanic(name, err)
		return fmt.Errorf("task %s: %w", name, err)
	}
	return nil
}

func (h *Host) parkObject(ctx context.Context, name string, d driver.Delivery[driver.ObjectEvent], cause error) error {
	ctx, cancel := outlasting(ctx)
	defer cancel()
	body, err := json.Marshal(d.Message)
	if err != nil {
		return fmt.Errorf("park object: %w", err)
	}
	return h.park(ctx, driver.DeadLetter{
		ID: "object/" + name + "/" + d.Message.Key + "/" + d.Message.Version, Component: name, Kind: driver.DeadObject,
		Stream: d.Message.Key, Body: body, Attempts: d.Attempt,
	}, cause)
}

func (h *Host) redriveObject(ctx context.Context, l driver.DeadLetter) error {
	var e driver.ObjectEvent
	if err := json.Unmarshal(l.Body, &e); err != nil {
		return fmt.Errorf("letter: %w: %w", driver.ErrInvalid, err)
	}
	d, ok := h.app.Lookup(l.Component)
	if !ok || d.Task == nil {
		return fmt.Errorf("no task %q: %w", l.Component, driver.ErrNotFound)
	}
	return h.handleObject(ctx, l.Component, d, e)
}
