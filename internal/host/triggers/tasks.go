package triggers

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/host/core"
	"github.com/reventless-go/reventless/internal/host/effects"
)

const (
	// ObjectBatch is how many changes of objects are received together.
	ObjectBatch = 16
	// maxObjects bounds how many objects a task handles at a time, since they may be
	// large.
	maxObjects = 4
)

// HandleObjects runs a task on objects of its bucket: those of one key in order, others
// concurrently, so that a slow one does not delay the rest.
func (t *Triggers) HandleObjects(ctx context.Context, task string, deliveries []driver.Delivery[driver.ObjectEvent]) ([]driver.Settlement, error) {
	d, err := t.task(task)
	if err != nil {
		return nil, err
	}
	key := func(e driver.ObjectEvent) string { return e.Key }
	groups := core.Group(deliveries, func(d driver.Delivery[driver.ObjectEvent]) string { return d.Message.Key })
	settlements := make([][]driver.Settlement, len(groups))
	core.Concurrently(len(groups), maxObjects, func(i int) {
		settlements[i] = core.InOrder(groups[i], key, func(del driver.Delivery[driver.ObjectEvent]) driver.Settlement {
			return t.settleObject(ctx, task, d, del)
		})
	})
	return slices.Concat(settlements...), nil
}

// task returns a task that has a bucket.
func (t *Triggers) task(name string) (*component.Definition, error) {
	d, ok := t.App.Lookup(name)
	if !ok || d.Task == nil || d.Task.Bucket == nil {
		return nil, fmt.Errorf("no task %q with a bucket: %w", name, driver.ErrNotFound)
	}
	return d, nil
}

func (t *Triggers) settleObject(ctx context.Context, name string, d *component.Definition, del driver.Delivery[driver.ObjectEvent]) driver.Settlement {
	err := t.handleObject(ctx, name, d, del.Message)
	if err == nil {
		return driver.Settlement{ID: del.ID}
	}
	body, _ := json.Marshal(del.Message) // marshalling strings and numbers cannot fail
	return t.Core.SettleFailure(ctx, core.Failure{
		ID: del.ID, Attempt: del.Attempt, Err: err,
		DeadLetter: driver.DeadLetter{
			ID: "object/" + name + "/" + del.Message.Key + "/" + del.Message.Version, Component: name, Kind: driver.DeadObject,
			Stream: del.Message.Key, Body: body,
		},
		What: "object", Attrs: []any{"task", name, "key", core.Clip(del.Message.Key)},
	})
}

func (t *Triggers) handleObject(ctx context.Context, name string, d *component.Definition, e driver.ObjectEvent) error {
	f := d.Task.Created
	if e.Kind == driver.ObjectRemoved {
		f = d.Task.Removed
	}
	if f == nil || !strings.HasPrefix(e.Key, d.Task.Prefix) || !strings.HasSuffix(e.Key, d.Task.Suffix) {
		return nil
	}
	key := fmt.Sprintf("%s/%s/%s@%s", name, e.Kind, e.Key, e.Version)
	return t.runTask(ctx, name, d, key, time.Time{}, func(ctx context.Context, env component.Env) ([]component.Action, error) {
		return f(ctx, env, component.Object{Key: e.Key, Version: e.Version})
	})
}

// runTask calls a function of a task and performs its actions.
func (t *Triggers) runTask(ctx context.Context, name string, d *component.Definition, key string, at time.Time, f func(context.Context, component.Env) ([]component.Action, error)) error {
	err := core.RunUntilDeadline(ctx, func() error {
		uses := slices.Clone(d.Task.Uses)
		if d.Task.Bucket != nil {
			uses = append(uses, d.Task.Bucket)
		}
		actions, err := f(ctx, t.Env(name, key, uses))
		if err == nil {
			err = effects.Declared(actions, d.Task.Targets, name)
		}
		if err == nil {
			_, err = t.Perform(ctx, effects.Origin{Component: name, Key: key, Meta: driver.Meta{ID: key, CorrelationID: key}, At: at}, actions)
		}
		return err
	})
	if err != nil {
		t.Core.LogPanic(name, err)
		return fmt.Errorf("task %s: %w", name, err)
	}
	return nil
}

// RedriveObject runs the task of a dead letter.
func (t *Triggers) RedriveObject(ctx context.Context, l driver.DeadLetter) error {
	var e driver.ObjectEvent
	if err := json.Unmarshal(l.Body, &e); err != nil {
		return fmt.Errorf("dead letter: %w: %w", driver.ErrInvalid, err)
	}
	d, err := t.task(l.Component)
	if err != nil {
		return err
	}
	return t.handleObject(ctx, l.Component, d, e)
}
