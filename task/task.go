// Package task declares tasks, which process files or run at planned times, and the
// buckets that store the files.
//
// A task is called for each file that is created in or removed from its bucket, or at
// the times of its Rate. It returns actions, as an automation does.
//
//	var Imports = task.NewBucket(task.BucketSpec{Name: "Imports"})
//
//	var ImportProducts = task.New(task.Spec{
//		Name:    "ImportProducts",
//		Bucket:  Imports,
//		Suffix:  ".csv",
//		Created: importFile,
//		Sends:   plugin.Components{product.Aggregate},
//	})
package task

import (
	"context"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/internal/typed"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/schedule"
)

// Bucket is a declared bucket: a store of files, each under a key.
type Bucket struct{ declared }

type declared = component.Declared

// BucketSpec declares a bucket.
type BucketSpec struct {
	// Name is a capital letter followed by letters and digits; it never changes
	// once files are stored.
	Name string
	// Doc is a sentence for readers of the topology.
	Doc string
}

// NewBucket declares a bucket. It panics when the name is invalid.
func NewBucket(spec BucketSpec) *Bucket {
	component.CheckName(component.KindBucket, spec.Name)
	return &Bucket{component.Declare(&component.Definition{Kind: component.KindBucket, Name: spec.Name, Doc: spec.Doc})}
}

// Files reads and writes the files of a bucket.
type Files struct {
	bucket driver.Bucket
	err    error
}

// Open returns the files of the bucket. A component that opens it must list the
// bucket under Uses, or be the task of the bucket; otherwise every method of Files
// returns an error that wraps [driver.ErrInvalid].
func (b *Bucket) Open(env plugin.Env) Files {
	f := Files{}
	f.bucket, f.err = env.OpenBucket(b.Definition())
	return f
}

// Put stores a file, replacing any file of the key. A reader gets the old or the new
// content, never a mixture.
func (f Files) Put(ctx context.Context, key string, body io.Reader) error {
	if f.err != nil {
		return f.err
	}
	return f.bucket.Put(ctx, key, body)
}

// Get opens a file; the caller closes it. The error wraps [driver.ErrNotFound] when
// there is no file of the key.
func (f Files) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if f.err != nil {
		return nil, f.err
	}
	body, _, err := f.bucket.Get(ctx, key)
	return body, err
}

// Delete deletes a file. A file that does not exist is not an error.
func (f Files) Delete(ctx context.Context, key string) error {
	if f.err != nil {
		return f.err
	}
	return f.bucket.Delete(ctx, key)
}

// List yields the files whose keys start with prefix, ordered by key. An error ends
// the sequence.
func (f Files) List(ctx context.Context, prefix string) iter.Seq2[driver.Object, error] {
	return func(yield func(driver.Object, error) bool) {
		if f.err != nil {
			yield(driver.Object{}, f.err)
			return
		}
		for after := ""; ; {
			objects, err := f.bucket.List(ctx, prefix, after, 1000)
			if err != nil {
				yield(driver.Object{}, err)
				return
			}
			for _, o := range objects {
				if !yield(o, nil) {
					return
				}
				after = o.Key
			}
			if len(objects) < 1000 {
				return
			}
		}
	}
}

// Object is a file that was created or removed.
type Object struct {
	// Key is the file's key.
	Key string
	// Version distinguishes the changes of a key.
	Version string
}

// Spec declares a task. It has Created or Removed and a Bucket, or Run and a Rate, or
// all of them.
type Spec struct {
	// Name is a capital letter followed by letters and digits.
	Name string
	// Doc is a sentence for readers of the topology.
	Doc string
	// Bucket is the bucket whose files the task processes. A bucket has at most one
	// task.
	Bucket *Bucket
	// Prefix and Suffix limit the task to files whose keys begin and end with them.
	Prefix, Suffix string
	// Created and Removed are called at least once for each file that is created
	// (or replaced) and removed, for several files at the same time.
	// env.IdempotencyKey is the same at every repetition. After an error they are
	// called again with backoff, and finally the change is parked; see package
	// automation.
	Created func(ctx context.Context, env plugin.Env, o Object) (message.Actions, error)
	Removed func(ctx context.Context, env plugin.Env, o Object) (message.Actions, error)
	// Rate says when Run is called. due is the planned time.
	Rate schedule.Rate
	Run  func(ctx context.Context, env plugin.Env, due time.Time) (message.Actions, error)
	// Uses lists the read models and buckets, other than Bucket, that the functions
	// open.
	Uses plugin.Components
	// Sends lists the aggregates, extension points and counters that the actions may
	// address.
	Sends plugin.Components
}

// Task is a declared task.
type Task struct{ declared }

// New declares a task. It panics, naming the task, when the Spec is incomplete.
func New(spec Spec) *Task {
	component.CheckName(component.KindTask, spec.Name)
	fail := func(what string) { panic(fmt.Sprintf("task %s: %s", spec.Name, what)) }
	onFile := spec.Created != nil || spec.Removed != nil
	switch {
	case onFile != (spec.Bucket != nil):
		fail("Bucket goes with Created or Removed")
	case (spec.Run != nil) != (spec.Rate != schedule.Rate{}):
		fail("Rate goes with Run")
	case !onFile && spec.Run == nil:
		fail("it does nothing")
	}
	t := &component.Task{
		Prefix: spec.Prefix, Suffix: spec.Suffix, Uses: component.Definitions(spec.Uses), Targets: component.Definitions(spec.Sends),
		Created: onObject(spec.Created), Removed: onObject(spec.Removed),
	}
	if spec.Bucket != nil {
		t.Bucket = spec.Bucket.Definition()
	}
	if spec.Run != nil {
		if err := spec.Rate.Err(); err != nil {
			fail(err.Error())
		}
		t.Expression, t.Zone = spec.Rate.Expression(), spec.Rate.Zone()
		t.Scheduled = func(ctx context.Context, env component.Env, due time.Time) ([]component.Action, error) {
			actions, err := spec.Run(ctx, env, due)
			return typed.Actions(actions), err
		}
	}
	return &Task{component.Declare(&component.Definition{Kind: component.KindTask, Name: spec.Name, Doc: spec.Doc, Task: t})}
}

func onObject(f func(context.Context, plugin.Env, Object) (message.Actions, error),
) func(context.Context, component.Env, component.Object) ([]component.Action, error) {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, env component.Env, o component.Object) ([]component.Action, error) {
		actions, err := f(ctx, env, Object(o))
		return typed.Actions(actions), err
	}
}
