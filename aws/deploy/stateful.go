package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/pulumi/pulumi/sdk/v3/go/pulumi"

	"github.com/reventless-go/reventless/aws/internal/schema"
	"github.com/reventless-go/reventless/topology"
)

// stateful reports whether a component has data that cannot be made from other data.
func stateful(c topology.Component) bool {
	return c.Kind == "Bucket" || slices.ContainsFunc(schema.TablesOf(c), func(t schema.Table) bool { return t.Lasting })
}

// holds says what would be lost with a component of a kind.
func holds(kind string) string {
	switch kind {
	case "Aggregate":
		return "events"
	case "Counter":
		return "counts and events"
	case "Bucket":
		return "files"
	}
	return "noted what it has done, without which it would do it again"
}

// knowledge is what the file of [AppArgs.Stateful] is to have: the kinds of
// components by name. A program that runs offline cannot ask Pulumi what a stack has,
// and Pulumi, which refuses to delete what is protected, only sees tables go and
// others come; it cannot say why.
type knowledge struct {
	path  string
	kinds map[string]string
	fresh []string
}

// checkStateful compares the App with what the file has.
func checkStateful(app topology.App, args *AppArgs) (*knowledge, error) {
	if args.Stateful == "" || args.ofData("").Protect == Off {
		return &knowledge{}, nil
	}
	k := &knowledge{path: args.Stateful, kinds: map[string]string{}}
	text, err := os.ReadFile(k.path)
	if err == nil {
		err = json.Unmarshal(text, &k.kinds)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("AppArgs.Stateful %s: %w", k.path, err)
	}
	now := map[string]string{}
	for _, p := range app.Plugins {
		for _, c := range p.Components {
			if stateful(c) {
				now[c.Name] = c.Kind
			}
		}
	}
	var found []error
	for _, name := range slices.Sorted(maps.Keys(k.kinds)) {
		switch kind, ok := now[name]; {
		case ok && kind != k.kinds[name]:
			found = append(found, fmt.Errorf("%s was of kind %s and has data as such, and is of kind %s now: give the new component a name of its own", name, k.kinds[name], kind))
		case !ok && !slices.Contains(args.Retired, name):
			found = append(found, fmt.Errorf("%s (%s) has %s, and the App has it no longer. If it was renamed: its name is part of the names of its tables and of its events, so that all this stays behind; "+
				"keep the old name, Go identifiers are free. If it is of no use any more: add it to AppArgs.Retired", name, k.kinds[name], holds(k.kinds[name])))
		}
	}
	for _, name := range args.Retired {
		if _, ok := now[name]; ok {
			found = append(found, fmt.Errorf("AppArgs.Retired has %s, and so has the App: one of them is wrong", name))
		} else if _, ok := k.kinds[name]; !ok {
			found = append(found, fmt.Errorf("AppArgs.Retired has %s, which %s does not know: take it out", name, k.path))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if _, ok := k.kinds[name]; !ok {
			k.kinds[name] = now[name]
			k.fresh = append(k.fresh, name)
		}
	}
	return k, errors.Join(found...)
}

// save adds new components to the file. A preview only says so.
func (k *knowledge) save(ctx *pulumi.Context) error {
	if len(k.fresh) == 0 {
		return nil
	}
	if ctx.DryRun() {
		return ctx.Log.Info(fmt.Sprintf("%s will have, as components with data: %s", k.path, strings.Join(k.fresh, ", ")), nil)
	}
	text, err := json.MarshalIndent(k.kinds, "", "  ")
	if err != nil {
		return fmt.Errorf("AppArgs.Stateful %s: %w", k.path, err)
	}
	// By a rename, so that nobody finds half of it.
	temporary, err := os.CreateTemp(filepath.Dir(k.path), filepath.Base(k.path)+".*")
	if err != nil {
		return fmt.Errorf("AppArgs.Stateful: %w", err)
	}
	_, err = temporary.Write(append(text, '\n'))
	err = errors.Join(err, temporary.Chmod(0o644), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), k.path)
	}
	if err != nil {
		return fmt.Errorf("AppArgs.Stateful %s: %w", k.path, errors.Join(err, os.Remove(temporary.Name())))
	}
	return nil
}
