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

// stateful reports whether a component has data that cannot be rebuilt from other data.
func stateful(c topology.Component) bool {
	return c.Kind == "Bucket" || slices.ContainsFunc(schema.TablesOf(c), func(t schema.Table) bool { return t.Lasting })
}

// dataOf describes the data of a component of a kind, which would be lost with it.
func dataOf(kind string) string {
	switch kind {
	case "Aggregate":
		return "events"
	case "Counter":
		return "counts and events"
	case "Bucket":
		return "files"
	}
	return "watermarks, without which it would repeat its effects"
}

// statefulFile is the content of the file [AppArgs.Stateful]: the kinds of components by
// name. The program has no other way to know the components of a stack, and Pulumi could
// only report that it must not delete protected tables, not that a component was renamed.
type statefulFile struct {
	path  string
	kinds map[string]string
	added []string
}

// checkStateful compares the App with the file.
func checkStateful(app topology.App, args *AppArgs) (*statefulFile, error) {
	if args.Stateful == "" || args.ofData("").Protect == Off {
		return &statefulFile{}, nil
	}
	k := &statefulFile{path: args.Stateful, kinds: map[string]string{}}
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
			found = append(found, fmt.Errorf("%s was of kind %s, has data of that kind, and is of kind %s now: give the new component a different name", name, k.kinds[name], kind))
		case !ok && !slices.Contains(args.Retired, name):
			found = append(found, fmt.Errorf("%s (%s) has %s, but is not in the App. If it was renamed, it would lose that data, because its name is part of the names of its tables and of the ids of its events: "+
				"keep the old name; the Go identifiers may change. If it is no longer needed, add it to AppArgs.Retired", name, k.kinds[name], dataOf(k.kinds[name])))
		}
	}
	for _, name := range args.Retired {
		if _, ok := now[name]; ok {
			found = append(found, fmt.Errorf("AppArgs.Retired has %s, but the App has this component: remove it from one of them", name))
		} else if _, ok := k.kinds[name]; !ok {
			found = append(found, fmt.Errorf("AppArgs.Retired has %s, which is not in %s: remove it from AppArgs.Retired", name, k.path))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(now)) {
		if _, ok := k.kinds[name]; !ok {
			k.kinds[name] = now[name]
			k.added = append(k.added, name)
		}
	}
	return k, errors.Join(found...)
}

// save adds the new components to the file. In a preview it only reports them.
func (k *statefulFile) save(ctx *pulumi.Context) error {
	if len(k.added) == 0 {
		return nil
	}
	if ctx.DryRun() {
		return ctx.Log.Info(fmt.Sprintf("%s will have these new components with data: %s", k.path, strings.Join(k.added, ", ")), nil)
	}
	text, err := json.MarshalIndent(k.kinds, "", "  ")
	if err != nil {
		return fmt.Errorf("AppArgs.Stateful %s: %w", k.path, err)
	}
	// Written to another file and renamed, so that the file is never incomplete.
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
