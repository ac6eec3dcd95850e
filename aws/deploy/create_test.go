package deploy

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/reventless-go/reventless/aws/deploy/deploytest"
)

// Each resource is created after its dependencies, and its inputs have their outputs.
func TestResourcesAreMadeInOrder(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	made := map[string]bool{}
	r := graph(t, shop(t), nil, &deploytest.Options{Create: func(r deploytest.Resource) (string, map[string]any, error) {
		mu.Lock()
		defer mu.Unlock()
		for _, d := range r.DependsOn {
			if !strings.HasPrefix(d, "reventless:") && !made[d] {
				t.Errorf("%s is made before %s", r, d)
			}
		}
		made[r.String()] = true
		said := func(what string) string { return what + " of " + r.Name }
		return said("id"), map[string]any{"arn": said("arn"), "url": said("url"), "streamArn": said("stream"), "uuid": said("uuid")}, nil
	}})
	custom := 0
	for _, x := range r.All {
		if x.Custom {
			custom++
		}
	}
	if len(made) != custom {
		t.Errorf("%d resources are made, want %d", len(made), custom)
	}
	for name, want := range map[string]string{
		"shop-projections-Catalog-on-Catalog.Category-log":   "stream of shop-Catalog.Category-log",
		"shop-commands-Catalog-on-Catalog.Category-commands": "arn of shop-Catalog.Category-commands",
	} {
		if got := fmt.Sprint(find(t, r, mappingType, name).Inputs["eventSourceArn"]); got != want {
			t.Errorf("%s reads %s, want %s", name, got, want)
		}
	}
	broken := errors.New("no more tables")
	_, err := run(shop(t), nil, &deploytest.Options{Create: func(r deploytest.Resource) (string, map[string]any, error) {
		if r.Type == tableType {
			return "", nil, broken
		}
		return r.Name, nil, nil
	}})
	if err == nil || !strings.Contains(err.Error(), broken.Error()) {
		t.Errorf("a table cannot be made: %v", err)
	}
}
