package aggregate_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/message"
)

type (
	named struct{ Name string }
	alike struct{ Name string }
	twins struct {
		named
		alike
	}
	covered struct {
		named

		Other int `json:"Name"`
	}
	omittedMap struct {
		ByID map[string]int `json:"byId,omitempty"`
	}
	deep struct {
		Lines []struct {
			Tags map[int]omittedMap
		}
	}
	secret struct{ hidden int }
	text   struct{ secret secret }
	tree   struct {
		Left, Right *tree
		Value       float64
	}
	rich struct {
		named
		At       time.Time
		Until    *time.Time
		Tags     []string `json:",omitempty"`
		ByID     map[string]int
		ByNumber map[int]tree
		Tree     *tree  `json:"tree,omitempty"`
		Raw      []byte `json:"raw"`
		Secrets  []text
		Quoted   int64 `json:",string"`
		Fixed    [2]bool
	}
)

// MarshalText loses the field, which only a type that defines its own JSON may have.
func (text) MarshalText() ([]byte, error) { return nil, nil }

func (*text) UnmarshalText([]byte) error { return nil }

// declared returns the panic of a declaration with states of type S.
func declared[S any](initial S, every int) (reason string) {
	defer func() { reason = fmt.Sprint(recover()) }()
	aggregate.New(aggregate.Spec[S, message.Typed, message.Typed]{
		Name: "Office", SnapshotEvery: every, Initial: initial,
		Commands: message.NewSet[message.Typed](hire{}), Events: message.NewSet[message.Typed](fire{}),
		Decide: func(S, message.Typed) ([]message.Typed, error) { return nil, nil }, Evolve: func(s S, _ message.Typed) S { return s },
	})
	return ""
}

// A snapshot would lose a part of the state, and Decide would decide otherwise after a
// cold start.
func TestStatesThatJSONDoesNotPreserveAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		reason func(every int) string
		part   string
	}{
		{func(n int) string { return declared(twins{}, n) }, "State.named.Name"},
		{func(n int) string { return declared(covered{}, n) }, "State.named.Name"},
		{func(n int) string { return declared(omittedMap{}, n) }, "State.ByID"},
		{func(n int) string { return declared(map[string]omittedMap{"a": {ByID: map[string]int{}}}, n) }, "State[a].ByID"},
		{func(n int) string { return declared(deep{}, n) }, "State.Lines[0].Tags"},
		{func(n int) string { return declared(map[bool]int{}, n) }, "State is a map with keys of type bool"},
		{func(n int) string { return declared(text{secret{1}}, n) }, "Initial"},
		{func(n int) string { return declared(secret{}, n) }, "State.hidden"},
	} {
		reason := tt.reason(0)
		if !strings.Contains(reason, tt.part) || !strings.Contains(reason, "aggregate Office: ") || !strings.Contains(reason, "SnapshotEvery") {
			t.Errorf("the reason is %q, want one that names %s", reason, tt.part)
		}
		if reason := tt.reason(-1); reason != "<nil>" {
			t.Errorf("without snapshots: %s", reason)
		}
	}
}

func TestStatesThatJSONPreservesAreAccepted(t *testing.T) {
	t.Parallel()
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for what, reason := range map[string]string{
		"all kinds":           declared(rich{}, 0),
		"empty and nil":       declared(rich{Tags: []string{}, ByID: map[string]int{}}, 0),
		"a time with a zone":  declared(rich{At: time.Now().In(berlin)}, 0),
		"a type of type tree": declared(tree{Left: &tree{}}, 0),
		"a pointer":           declared[*rich](nil, 0),
		"a map":               declared(map[string][]int{}, 0),
		"no struct":           declared(0, 0),
	} {
		if reason != "<nil>" {
			t.Errorf("%s: %s", what, reason)
		}
	}
}
