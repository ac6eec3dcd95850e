package api_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/internal/testenv"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
	"github.com/reventless-go/reventless/readmodel"
)

// Happened is an event without data.
type Happened struct{}

func (Happened) MessageType() string { return "Happened" }

type (
	event     = message.Typed
	command   = message.Typed
	entities  = aggregate.Aggregate[struct{}, command, event]
	component = plugin.Component
)

// entity returns an aggregate of some commands.
func entity(name string, mod func(*aggregate.Spec[struct{}, command, event]), commands ...command) *entities {
	spec := aggregate.Spec[struct{}, command, event]{
		Name: name, Commands: message.NewSet(commands...), Events: message.NewSet[event](Happened{}),
		Decide: func(struct{}, command) ([]event, error) { return nil, nil },
		Evolve: func(s struct{}, _ event) struct{} { return s },
	}
	if mod != nil {
		mod(&spec)
	}
	return aggregate.New(spec)
}

// rows returns a read model of rows R.
func rows[R any](name string, source *entities, mods ...func(*readmodel.Spec[R])) *readmodel.ReadModel[R] {
	spec := readmodel.Spec[R]{Name: name, Projections: readmodel.Projections[R]{
		readmodel.On(source, func(message.Event[event]) readmodel.Changes[R] { return nil }),
	}}
	for _, m := range mods {
		m(&spec)
	}
	return readmodel.New(spec)
}

func plug(name string, components ...component) *plugin.Plugin {
	return plugin.New(plugin.Spec{Name: name, Heartbeat: -1, Components: components})
}

// derive assembles an App; text is the text of its panic.
func derive(plugins ...*plugin.Plugin) (s *api.Schema, text string) {
	defer func() {
		if v := recover(); v != nil {
			text = fmt.Sprint(v)
		}
	}()
	return reventless.New("test", plugins...).API(), ""
}

// schema returns the API of a valid App.
func schema(t testing.TB, plugins ...*plugin.Plugin) *api.Schema {
	t.Helper()
	s, text := derive(plugins...)
	if text != "" {
		t.Fatal(text)
	}
	return s
}

// names returns the operations of a schema that belong to a component, each as
// "Kind name".
func names(s *api.Schema, component string) []string {
	var out []string
	for _, o := range s.Operations {
		if o.Component == component {
			out = append(out, string(o.Kind)+" "+o.Name)
		}
	}
	return out
}

func wantTexts(t testing.TB, text string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(text, want) {
			t.Errorf("the text does not contain %q:\n%s", want, text)
		}
	}
}

func wantNames(t testing.TB, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// seeds runs a random test with n seeds, which are the names of the subtests;
// REVENTLESS_SEED repeats one.
func seeds(t *testing.T, n int, f func(t *testing.T, rng *rand.Rand)) {
	first, given := testenv.Seed(t)
	if given {
		n = 1
	}
	for i := range n {
		seed := first + uint64(i)
		t.Run(fmt.Sprintf("REVENTLESS_SEED=%d", seed), func(t *testing.T) {
			t.Parallel()
			f(t, rand.New(rand.NewPCG(seed, 1)))
		})
	}
}

// Color is written as a text.
type Color struct{ red, green, blue byte }

func (c Color) MarshalText() ([]byte, error) {
	return fmt.Appendf(nil, "#%02x%02x%02x", c.red, c.green, c.blue), nil
}

func (c *Color) UnmarshalText(text []byte) error {
	_, err := fmt.Sscanf(string(text), "#%02x%02x%02x", &c.red, &c.green, &c.blue)
	return err
}

type (
	// Kind, Cents and Flags have a kind that is mapped and a name that is not.
	Kind  string
	Cents int64
	Flags []bool

	// Line is part of other types.
	Line struct {
		Product  string  `json:"product"`
		Quantity int16   `json:"quantity"`
		Price    float64 `json:"price,omitempty"`
		Note     *string `json:"note"`
		Parts    []Line  `json:"parts,omitempty"` // of the type itself
	}
	// Base is embedded.
	Base struct {
		Created time.Time `json:"created"`
		Tags    []string  `json:"tags"`
	}
	// Extra is embedded by a pointer, so it may be absent as a whole.
	Extra struct {
		Weight float32 `json:"weight"`
	}

	// Rich has a field of every kind that the API can express, which is why the
	// random tests use it for rows and for commands.
	Rich struct {
		Base
		*Extra
		Text    string          `json:"text"`
		Bare    string          // without a tag
		HTTPURL string          // starts with several capitals
		Kind    Kind            `json:"kind"`
		Flag    bool            `json:"flag"`
		I8      int8            `json:"i8"`
		I16     int16           `json:"i16"`
		I32     int32           `json:"i32"`
		I64     int64           `json:"i64"`
		U8      uint8           `json:"u8"`
		U16     uint16          `json:"u16"`
		U32     uint32          `json:"u32"`
		U64     uint64          `json:"u64"`
		Cents   Cents           `json:"cents"`
		F32     float32         `json:"f32"`
		F64     float64         `json:"f64"`
		Number  json.Number     `json:"number"`
		At      time.Time       `json:"at"`
		Data    json.RawMessage `json:"data"`
		Blob    []byte          `json:"blob"`
		Color   Color           `json:"color"`
		Quoted  int             `json:"quoted,string"`
		Maybe   *string         `json:"maybe"`
		When    *time.Time      `json:"when,omitempty"`
		Count   *uint32         `json:"count"`
		Few     []string        `json:"few,omitempty"`
		Flags   Flags           `json:"flags"`
		Grid    [][]int32       `json:"grid"`
		Pair    [2]float64      `json:"pair"`
		Holes   []*float64      `json:"holes"`
		Texts   []json.RawMessage
		Line    Line               `json:"line"`
		Perhaps *Line              `json:"perhaps"`
		Lines   []Line             `json:"lines"`
		Sparse  []*Line            `json:"sparse"`
		Place   struct{ X, Y int } `json:"place"`
		Skipped map[string]int     `json:"-"`
		hidden  map[string]int     //nolint:unused // an unexported field is the case
	}
)

func (Rich) MessageType() string { return "Enrich" }

// rich returns an App with rows and a command of Rich.
func rich(t testing.TB) *api.Schema {
	e := entity("Thing", nil, Rich{})
	return schema(t, plug("Shop", e, rows[Rich]("Riches", e, func(s *readmodel.Spec[Rich]) { s.Singular = "Rich" })))
}
