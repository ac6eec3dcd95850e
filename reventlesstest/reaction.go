package reventlesstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/task"
)

// reaction is the common part of the tests of automations, side effects and tasks. Self
// is the type of the test, which its methods return.
type reaction[Self any] struct {
	story
	self    Self
	def     *component.Definition
	w       *world
	actions []component.Action
	err     error
	called  bool // whether there has been a When
	asked   bool // whether a Then has checked the error
}

func newReaction[Self any](t testing.TB, self Self, d *component.Definition) reaction[Self] {
	return reaction[Self]{
		story: story{t: t, name: kindName(d.Kind) + " " + d.Name},
		self:  self, def: d, w: newWorld(),
	}
}

// watch reports an error that no Then has checked at the end of the test.
func (r *reaction[Self]) watch() {
	r.t.Cleanup(func() {
		if !r.t.Failed() && r.err != nil && !r.asked {
			r.t.Error(r.text("an error, and no Then expects it: " + r.err.Error()))
		}
	})
}

// kindName turns "SideEffect" into "side effect".
func kindName(k component.Kind) string {
	var b strings.Builder
	for i, c := range string(k) {
		if c >= 'A' && c <= 'Z' {
			if i > 0 {
				b.WriteByte(' ')
			}
			c += 'a' - 'A'
		}
		b.WriteRune(c)
	}
	return b.String()
}

// Given sets up what the component can read: [Rows] and [File].
func (r *reaction[Self]) Given(fixtures ...Fixture) Self {
	r.t.Helper()
	r.settle()
	texts := make([]string, len(fixtures))
	for i, f := range fixtures {
		texts[i] = f.text
	}
	r.step("Given", texts...)
	for _, f := range fixtures {
		if f.apply == nil {
			r.fatal("a fixture is empty; use Rows or File")
		}
		if !slices.Contains(r.def.Uses(), f.of) {
			r.fatal("the component does not declare that it uses %s %s", kindName(f.of.Kind), f.of.Name)
		}
		if err := f.apply(r.t.Context(), r.w); err != nil {
			r.fatal("%s: %v", f.text, err)
		}
	}
	return r.self
}

// At sets the time that env.Now returns.
func (r *reaction[Self]) At(now time.Time) Self {
	r.w.clock.set(now)
	return r.self
}

// Then expects exactly these actions, in this order.
func (r *reaction[Self]) Then(actions ...message.Action) Self {
	r.t.Helper()
	r.ask("Then")
	want := make([]component.Action, len(actions))
	for i, a := range actions {
		if a == nil {
			r.fatal("action %d of Then is nil", i+1)
		}
		want[i] = a.Erased()
		if want[i].Err != nil {
			r.fatal("action %d of Then: %v", i+1, want[i].Err)
		}
	}
	sameActions(&r.story, want, r.actions)
	return r.self
}

// ThenNothing expects no actions.
func (r *reaction[Self]) ThenNothing() Self {
	r.t.Helper()
	r.ask("ThenNothing")
	sameActions(&r.story, nil, r.actions)
	return r.self
}

// ThenError expects an error that wraps target (see [errors.Is]).
func (r *reaction[Self]) ThenError(target error) Self {
	r.t.Helper()
	if !r.called {
		r.fatal("ThenError needs a When before it")
	}
	r.asked = true
	if !errors.Is(r.err, target) {
		r.differs("the error differs", []string{showError(target)}, []string{showError(r.err)})
	}
	return r.self
}

// ThenFile expects a file with this content in a bucket.
func (r *reaction[Self]) ThenFile(bucket *task.Bucket, key, content string) Self {
	r.t.Helper()
	if got := r.file(bucket, key); got != content {
		r.t.Fatalf("%s", r.text(fmt.Sprintf("file %q in %s has different content\n", key, bucket.Definition().Name)+
			mismatch("want", "got", fileLines(content), fileLines(got))))
	}
	return r.self
}

// ThenFileContains expects a file that contains all parts in a bucket.
func (r *reaction[Self]) ThenFileContains(bucket *task.Bucket, key string, parts ...string) Self {
	r.t.Helper()
	got := r.file(bucket, key)
	for _, p := range parts {
		if !strings.Contains(got, p) {
			r.fatal("file %q in %s does not contain %q, it is:\n    %s", key, bucket.Definition().Name, p,
				strings.ReplaceAll(got, "\n", "\n    "))
		}
	}
	return r.self
}

// ThenNoFile expects no file with this key in a bucket.
func (r *reaction[Self]) ThenNoFile(bucket *task.Bucket, key string) Self {
	r.t.Helper()
	r.ask("ThenNoFile")
	if got, ok := r.files(bucket)[key]; ok {
		r.fatal("file %q is in %s, it is:\n    %s", key, bucket.Definition().Name, strings.ReplaceAll(got, "\n", "\n    "))
	}
	return r.self
}

func (r *reaction[Self]) file(bucket *task.Bucket, key string) string {
	r.t.Helper()
	r.ask("ThenFile")
	files := r.files(bucket)
	content, ok := files[key]
	if !ok {
		keys := slices.Sorted(maps.Keys(files))
		for i := range keys {
			keys[i] = strconv.Quote(keys[i])
		}
		if len(keys) == 0 {
			keys = []string{"no file"}
		}
		r.fatal("file %q is not in %s, which has %s", key, bucket.Definition().Name, strings.Join(keys, ", "))
	}
	return content
}

func (r *reaction[Self]) files(bucket *task.Bucket) map[string]string {
	r.t.Helper()
	d := bucket.Definition()
	if !slices.Contains(r.def.Uses(), d) {
		r.fatal("the component does not declare that it uses bucket %s", d.Name)
	}
	files, err := r.w.files(r.t.Context(), d)
	if err != nil {
		r.fatal("%v", err)
	}
	return files
}

// fileLines splits a text into lines to compare.
func fileLines(content string) []string {
	if !strings.Contains(content, "\n") {
		return []string{strconv.Quote(content)}
	}
	lines := strings.Split(content, "\n")
	for i := range lines[:len(lines)-1] {
		lines[i] += "\u21b5" // shows whether the last line has an end
	}
	if last := len(lines) - 1; lines[last] == "" {
		lines = lines[:last]
	}
	return lines
}

func showError(err error) string {
	if err == nil {
		return "no error"
	}
	return "error: " + err.Error()
}

// sameActions fails the test unless the actions are equal.
func sameActions(s *story, want, got []component.Action) {
	s.t.Helper()
	w, g := showActions(want), showActions(got)
	if !slices.Equal(w, g) {
		s.differs("the actions differ", w, g)
	}
	for i := range want {
		if want[i].Target != got[i].Target {
			s.fatal("action %d addresses another %s than expected, of the same name %s", i+1, kindName(want[i].Target.Kind), want[i].Target.Name)
		}
	}
}

// ask begins a Then. It fails the test if there is an error that no Then has checked.
func (r *reaction[Self]) ask(then string) {
	r.t.Helper()
	if !r.called {
		r.fatal("%s needs a When before it", then)
	}
	if r.err != nil && !r.asked {
		r.asked = true
		r.fatal("%v", r.err)
	}
}

// settle ends the previous step.
func (r *reaction[Self]) settle() {
	r.t.Helper()
	if r.err != nil && !r.asked {
		r.fatal("an error, and no Then expects it: %v", r.err)
	}
	r.actions, r.err, r.called, r.asked = nil, nil, false, false
}

// when begins a When.
func (r *reaction[Self]) when(word string, what ...string) {
	r.t.Helper()
	r.settle()
	r.step(word, what...)
	r.called = true
}

// call runs f twice, as hosts do after a failure, and checks that the second call has the
// same results. It returns false if f fails.
func (r *reaction[Self]) call(key string, uses []*component.Definition, f func(context.Context, component.Env) ([]component.Action, error)) bool {
	r.t.Helper()
	ctx := r.t.Context()
	env := &env{ctx, r.w, r.def, uses, key}
	actions, err := f(ctx, env)
	if err != nil {
		r.err = err
		return false
	}
	for i, a := range actions {
		if err := allowed(r.def, a); err != nil {
			r.fatal("action %d, %s: %v", i+1, showAction(a), err)
		}
	}
	r.actions = append(r.actions, actions...)
	before := r.everything(uses)
	again, err := f(ctx, env)
	if err != nil {
		r.fatal("it succeeds, but fails when it is called again for the same %q: %v", key, err)
	}
	if first, second := showActions(actions), showActions(again); !slices.Equal(first, second) {
		r.t.Fatalf("%s", r.text("it returns different actions when it is called again for the same "+strconv.Quote(key)+"\n"+
			mismatch("first", "second", first, second)))
	}
	if after := r.everything(uses); !slices.Equal(before, after) {
		r.t.Fatalf("%s", r.text("it leaves different files when it is called again for the same "+strconv.Quote(key)+"\n"+
			mismatch("first", "second", before, after)))
	}
	return true
}

// everything returns all files in the buckets among uses.
func (r *reaction[Self]) everything(uses []*component.Definition) []string {
	r.t.Helper()
	var out []string
	for _, d := range uses {
		if d.Kind != component.KindBucket {
			continue
		}
		files, err := r.w.files(r.t.Context(), d)
		if err != nil {
			r.fatal("%v", err)
		}
		for _, key := range slices.Sorted(maps.Keys(files)) {
			out = append(out, fmt.Sprintf("file %q in %s:", key, d.Name))
			out = append(out, fileLines(files[key])...)
		}
	}
	return out
}

// allowed returns an error if a host would refuse an action of d.
func allowed(d *component.Definition, a component.Action) error {
	if a.Err != nil {
		return a.Err
	}
	if a.Kind == component.DeleteSchedule {
		return nil
	}
	if !slices.Contains(d.Targets(), a.Target) {
		return fmt.Errorf("%s %s is not among the targets that the component declares; add it to its Sends", kindName(a.Target.Kind), a.Target.Name)
	}
	if a.Kind == component.AddCount || a.Kind == component.AddTarget {
		if a.N < 1 {
			return fmt.Errorf("a count is at least 1, not %d", a.N)
		}
		return errors.Join(driver.CheckID("counter", a.ID), driver.CheckID("reference", a.Ref))
	}
	return nil
}
