package api_test

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/access"
	"github.com/reventless-go/reventless/aggregate"
	"github.com/reventless-go/reventless/readmodel"
)

// holder has one field of a type, as a row and as a command.
type holder[T any] struct {
	V T `json:"v"`
}

func (holder[T]) MessageType() string { return "Hold" }

// goType is a Go type as the field of a row and of a command. Both return the GraphQL
// type, or the text of the panic.
type goType struct{ row, command func() string }

func of[T any]() goType {
	return goType{
		row: func() string {
			e := entity("Thing", nil, Ping{})
			s, text := derive(plug("Shop", e, rows[holder[T]]("Holders", e)))
			if text != "" {
				return text
			}
			return s.Type("ShopHolder").Field("v").Type.String()
		},
		command: func() string {
			s, text := derive(plug("Shop", entity("Thing", nil, holder[T]{})))
			if text != "" {
				return text
			}
			return s.Operation("Mutation", "shopThingHold").Arg("v").Type.String()
		},
	}
}

// Ping is a command without fields.
type Ping struct{}

func (Ping) MessageType() string { return "Ping" }

type (
	written     struct{} // has methods that write and read its JSON
	readOnly    struct{ N int }
	textOnly    struct{ N int }
	byteText    uint8
	endless     []endless
	spiral      []*spiralled
	spiralled   []spiralled
	page[T any] struct {
		Items []T `json:"items"`
	}
	pair[A, B any] struct {
		A A `json:"a"`
		B B `json:"b"`
	}
	hollow struct {
		hidden int //nolint:unused // an unexported field is the case
	}
)

func (written) MarshalJSON() ([]byte, error)     { return []byte("1"), nil }
func (*written) UnmarshalJSON([]byte) error      { return nil }
func (*readOnly) UnmarshalJSON([]byte) error     { return nil }
func (textOnly) MarshalText() ([]byte, error)    { return nil, nil }
func (b byteText) MarshalText() ([]byte, error)  { return []byte{'0' + byte(b)}, nil }
func (b *byteText) UnmarshalText(t []byte) error { *b = byteText(t[0] - '0'); return nil }

func TestGoTypesBecomeGraphQLTypes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		of           goType
		row, command string
	}{
		"string":           {of[string](), "String!", "String!"},
		"named string":     {of[Kind](), "String!", "String!"},
		"bool":             {of[bool](), "Boolean!", "Boolean!"},
		"int8":             {of[int8](), "Int!", "Int!"},
		"int16":            {of[int16](), "Int!", "Int!"},
		"int32":            {of[int32](), "Int!", "Int!"},
		"uint8":            {of[uint8](), "Int!", "Int!"},
		"uint16":           {of[uint16](), "Int!", "Int!"},
		"int":              {of[int](), "Float!", "Float!"},
		"int64":            {of[int64](), "Float!", "Float!"},
		"uint":             {of[uint](), "Float!", "Float!"},
		"uint32":           {of[uint32](), "Float!", "Float!"},
		"uint64":           {of[uint64](), "Float!", "Float!"},
		"duration":         {of[time.Duration](), "Float!", "Float!"},
		"float32":          {of[float32](), "Float!", "Float!"},
		"float64":          {of[float64](), "Float!", "Float!"},
		"json.Number":      {of[json.Number](), "Float!", "Float!"},
		"time":             {of[time.Time](), "AWSDateTime!", "AWSDateTime!"},
		"raw":              {of[json.RawMessage](), "AWSJSON", "AWSJSON"},
		"bytes":            {of[[]byte](), "String!", "String!"},
		"array of bytes":   {of[[4]byte](), "[Int!]!", "[Int!]!"},
		"bytes with texts": {of[[]byteText](), "[String!]!", "[String!]!"},
		"text":             {of[netip.Addr](), "String!", "String!"},
		"text on pointer":  {of[*Color](), "String", "String"},
		"list":             {of[[]string](), "[String!]!", "[String!]!"},
		"array":            {of[[3]int8](), "[Int!]!", "[Int!]!"},
		"list of lists":    {of[[][]float64](), "[[Float!]!]!", "[[Float!]!]!"},
		"list of pointers": {of[[]*string](), "[String]!", "[String]!"},
		"list of raw":      {of[[]json.RawMessage](), "[AWSJSON]!", "[AWSJSON]!"},
		"pointer":          {of[*int](), "Float", "Float"},
		"pointer twice":    {of[**bool](), "Boolean", "Boolean"},
		"pointer to list":  {of[*[]*[]int8](), "[[Int!]]", "[[Int!]]"},
		"struct":           {of[Line](), "ShopLine!", "ShopLineInput!"},
		"list of structs":  {of[[]*Line](), "[ShopLine]!", "[ShopLineInput]!"},
		"anonymous": {of[struct {
			N int `json:"n"`
		}](), "ShopHolderV!", "ShopThingHoldVInput!"},
		"generic":             {of[page[Line]](), "ShopPageLine!", "ShopPageLineInput!"},
		"generic of generics": {of[pair[page[time.Time], []*string]](), "ShopPairPageTimeString!", "ShopPairPageTimeStringInput!"},
		// Only reading is custom.
		"text out only": {of[textOnly](), "String!", "ShopTextOnlyInput!"},
		// Only writing is custom.
		"JSON in only": {of[readOnly](), "ShopReadOnly!", "reads"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := tt.of.row(); got != tt.row {
				t.Errorf("in a row: got %s, want %s", got, tt.row)
			}
			if tt.command == "reads" {
				wantTexts(t, tt.of.command(), "api of Shop.Thing: command Hold", "writes its JSON itself")
			} else if got := tt.of.command(); got != tt.command {
				t.Errorf("in a command: got %s, want %s", got, tt.command)
			}
		})
	}
}

func TestTypesWithoutAGraphQLTypeAreRefusedByField(t *testing.T) {
	t.Parallel()
	type deep struct {
		Lines []struct {
			Bad map[string]int `json:"bad"`
		} `json:"lines"`
	}
	for name, tt := range map[string]struct {
		of   goType
		says string
	}{
		"map":               {of[map[string]int](), "map[string]int"},
		"any":               {of[any](), "interface {}"},
		"func":              {of[func()](), "func()"},
		"chan":              {of[chan int](), "chan int"},
		"complex":           {of[complex128](), "complex128"},
		"pointer to a map":  {of[*map[string]int](), "map[string]int"},
		"list of any":       {of[[]any](), "interface {}"},
		"JSON of its own":   {of[written](), "writes its JSON itself"},
		"its list":          {of[[]*written](), "writes its JSON itself"},
		"empty struct":      {of[struct{}](), "no fields"},
		"hidden fields":     {of[hollow](), "no fields"},
		"list of itself":    {of[endless](), "list of itself"},
		"pointer in circle": {of[spiral](), "list of itself"},
		"deep inside":       {of[deep](), "map[string]int"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			field := "].V: "
			if name == "deep inside" {
				field = ".Bad: "
			}
			// The error names the place, the problem and the correction.
			wantTexts(t, tt.of.row(), "api of Shop.Holders: ", field, tt.says, "access.Internal")
			wantTexts(t, tt.of.command(), "api of Shop.Thing: command Hold: ", field, tt.says, "access.Internal")
		})
	}
}

func TestFieldsAreNamedAsInJSON(t *testing.T) {
	t.Parallel()
	s := rich(t)
	for _, tt := range []struct{ name, json, out, in string }{
		{"created", "created", "AWSDateTime!", "AWSDateTime!"}, // of an embedded struct
		{"tags", "tags", "[String!]!", "[String!]!"},
		{"weight", "weight", "Float!", "Float"}, // of an embedded pointer: it may be left out
		{"bare", "Bare", "String!", "String!"},
		{"httpurl", "HTTPURL", "String!", "String!"},
		{"few", "few", "[String!]!", "[String!]"}, // omitempty may be left out of a command
		{"when", "when", "AWSDateTime", "AWSDateTime"},
		{"quoted", "quoted", "String!", "String!"},
		{"place", "place", "ShopRichPlace!", "ShopThingEnrichPlaceInput!"},
		{"perhaps", "perhaps", "ShopLine", "ShopLineInput"},
		{"skipped", "", "", ""},
		{"hidden", "", "", ""},
	} {
		row, arg := s.Type("ShopRich").Field(tt.name), s.Operation("Mutation", "shopThingEnrich").Arg(tt.name)
		if tt.out == "" {
			if row != nil || arg != nil {
				t.Errorf("%s is in the API", tt.name)
			}
			continue
		}
		if row == nil || arg == nil {
			t.Errorf("%s is not in the API: %v, %v", tt.name, row, arg)
			continue
		}
		if row.JSON != tt.json || row.Type.String() != tt.out || arg.JSON != tt.json || arg.Type.String() != tt.in {
			t.Errorf("%s: got %s %v and %s %v, want %s %s and %s", tt.name, row.JSON, row.Type, arg.JSON, arg.Type, tt.json, tt.out, tt.in)
		}
	}
	// A recursive type is recursive in the API.
	if parts := s.Type("ShopLine").Field("parts"); parts.Type.List.Type != s.Type("ShopLine") {
		t.Errorf("the parts of a line are %v", parts.Type)
	}
}

func TestNamesThatGraphQLDoesNotAllow(t *testing.T) {
	t.Parallel()
	type dashed struct {
		N int `json:"a-b"`
	}
	type digit struct {
		N int `json:"1st"`
	}
	type umlaut struct {
		N int `json:"größe"`
	}
	type reserved struct {
		N int `json:"__typename"`
	}
	type twice struct {
		A int `json:"amount"`
		B int `json:"Amount"`
	}
	for name, text := range map[string]string{
		"dashed":   of[dashed]().row(),
		"digit":    of[digit]().row(),
		"umlaut":   of[umlaut]().command(),
		"reserved": of[reserved]().command(),
	} {
		wantTexts(t, text, "api of Shop.", name+".N: ", "no name of GraphQL")
	}
	for _, text := range []string{of[twice]().row(), of[twice]().command()} {
		wantTexts(t, text, "twice.B: ", `"amount"`, "twice.A too")
	}
}

func TestSingularAndPlural(t *testing.T) {
	t.Parallel()
	type row struct{ N int }
	for _, tt := range []struct{ name, singular, one, many string }{
		{"Categories", "", "category", "categories"},
		{"Orders", "", "order", "orders"},
		{"Addresses", "", "address", "addresses"},
		{"Boxes", "", "box", "boxes"},
		{"Branches", "", "branch", "branches"},
		{"Dishes", "", "dish", "dishes"},
		{"Days", "", "day", "days"},
		{"OrderLines", "", "orderLine", "orderLines"},
		{"SalesByCountry", "", "salesByCountry", "salesByCountries"},
		{"PriceHistory", "", "priceHistory", "priceHistories"},
		{"Status", "", "status", "statuses"},
		{"Address", "", "address", "addresses"},
		{"Ties", "", "tie", "ties"},
		{"Stock", "", "stock", "stocks"},
		{"News", "NewsItem", "newsItem", "news"},
		{"Data", "Datum", "datum", "data"},
		{"Statuses", "", "status", "statuses"},
		{"Sheep", "Sheep", "sheep", "sheeps"},
		{"URLs", "URL", "URL", "URLs"},
		{"Sizes", "", "size", "sizes"},
		{"Warehouses", "", "warehouse", "warehouses"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			e := entity("Thing", func(s *aggregate.Spec[struct{}, command, event]) { s.Access = access.Rules{access.Internal} }, Ping{})
			s := schema(t, plug("X", e, rows("Thingies", e, func(s *readmodel.Spec[row]) { s.Access = access.Internal }), rows(tt.name, e, func(s *readmodel.Spec[row]) { s.Singular = tt.singular })))
			up := func(s string) string { return "x" + strings.ToUpper(s[:1]) + s[1:] }
			wantNames(t, "operations", names(s, "X."+tt.name), "Query "+up(tt.one), "Query "+up(tt.many), "Subscription "+up(tt.one)+"Changed")
			if s.Type(up(tt.one)) != nil || s.Type("X"+up(tt.one)[1:]) == nil {
				t.Errorf("no type X%s", up(tt.one)[1:])
			}
		})
	}
}
