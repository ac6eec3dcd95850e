package reventlesstest

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/task"
)

// TaskTest tests a task. [Task] creates it.
type TaskTest struct {
	reaction[*TaskTest]
	changes int
}

// Task starts a test of a task.
func Task(t testing.TB, c *task.Task) *TaskTest {
	t.Helper()
	a := &TaskTest{}
	a.reaction = newReaction(t, a, c.Definition())
	a.watch()
	return a
}

// WhenCreated stores a file in the task's bucket. The task is called if the key has its
// prefix and suffix.
func (a *TaskTest) WhenCreated(key, content string) *TaskTest {
	a.t.Helper()
	a.when("WhenCreated", fmt.Sprintf("%q (%d bytes)", key, len(content)))
	if a.bucket() == nil || a.def.Task.Created == nil {
		a.fatal("the task has no Created")
	}
	if err := a.w.put(a.t.Context(), a.bucket(), key, content); err != nil {
		a.fatal("%v", err)
	}
	a.object(key, a.def.Task.Created)
	return a
}

// WhenRemoved deletes a file from the task's bucket. The task is called if the key has
// its prefix and suffix.
func (a *TaskTest) WhenRemoved(key string) *TaskTest {
	a.t.Helper()
	a.when("WhenRemoved", fmt.Sprintf("%q", key))
	if a.bucket() == nil || a.def.Task.Removed == nil {
		a.fatal("the task has no Removed")
	}
	b, err := a.w.provider.OpenBucket(a.t.Context(), a.w.name(a.bucket()))
	if err == nil {
		err = b.Delete(a.t.Context(), key)
	}
	if err != nil {
		a.fatal("%v", err)
	}
	a.object(key, a.def.Task.Removed)
	return a
}

// WhenDue sets the clock to due and calls the task's Run.
func (a *TaskTest) WhenDue(due time.Time) *TaskTest {
	a.t.Helper()
	a.when("WhenDue", due.UTC().Format(time.RFC3339))
	if a.def.Task.Scheduled == nil {
		a.fatal("the task has no Run")
	}
	a.w.clock.set(due)
	a.call(a.def.Name+"/"+due.UTC().Format(time.RFC3339), a.def.Uses(), func(ctx context.Context, env component.Env) ([]component.Action, error) {
		return a.def.Task.Scheduled(ctx, env, due.UTC())
	})
	return a
}

func (a *TaskTest) bucket() *component.Definition { return a.def.Task.Bucket }

func (a *TaskTest) object(key string, f func(context.Context, component.Env, component.Object) ([]component.Action, error)) {
	a.t.Helper()
	if t := a.def.Task; !strings.HasPrefix(key, t.Prefix) || !strings.HasSuffix(key, t.Suffix) {
		return
	}
	a.changes++
	o := component.Object{Key: key, Version: fmt.Sprintf("%08d", a.changes)}
	a.call(a.def.Name+"/"+key+"/"+o.Version, a.def.Uses(), func(ctx context.Context, env component.Env) ([]component.Action, error) {
		return f(ctx, env, o)
	})
}
