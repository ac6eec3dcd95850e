package imports

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"
)

const header = "productId,name,description,price\n"

func TestBadRowsDoNotAffectOthers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ row, want string }{
		"missing columns":    {"p2,Mug", "line 3: found 2 columns, not 4"},
		"too many columns":   {"p2,Mug,A mug,165,x", "line 3: found 5 columns, not 4"},
		"quote left open":    {`p2,"Mug,A mug,165`, "line 3: at byte "},
		"quote inside":       {`p2,9" Mug,A mug,165`, "line 3: at byte "},
		"text after quote":   {`p2,"Mug"s,A mug,165`, "line 3: at byte "},
		"negative price":     {"p2,Mug,A mug,-1", "line 3: price -1 is negative"},
		"price in pounds":    {"p2,Mug,A mug,1.65", `line 3: price "1.65" is not a whole number of pence`},
		"price beyond range": {"p2,Mug,A mug,99999999999999999999", `line 3: price "99999999999999999999"`},
		"price beyond limit": {"p2,Mug,A mug,1000000000001", "line 3: price 1000000000001 is more than 1000000000000"},
		"no id":              {",Mug,A mug,165", "line 3: product id is empty"},
		"not UTF-8":          {"p2,Mug \xa3,A mug,165", "line 3: it is not valid UTF-8"},
		"product twice":      {"p1,Mug,A mug,165", `line 3: product "p1" is on line 2 already`},
	} {
		file := header + "p1,Lamp,A lamp,339\n" + test.row + "\n" + `p3,"Clock, small","A ""clock""",375` + "\n"
		actions, result, err := read(strings.NewReader(file))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if len(actions) != 2 {
			t.Errorf("%s: got %d products, want the 2 good ones", name, len(actions))
		}
		lines := strings.Split(result, "\n")
		if lines[0] != "rows imported: 2, refused: 1" || !strings.HasPrefix(lines[1], test.want) || len(lines) != 3 {
			t.Errorf("%s: got result %q, want %q", name, result, test.want)
		}
	}
}

func TestHeader(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		header string
		want   string
	}{
		"as declared":    {header, "rows imported: 1, refused: 0\n"},
		"with BOM, CRLF": {"\ufeffproductId,name,description,price\r\n", "rows imported: 1, refused: 0\n"},
		"quoted":         {`"productId","name","description","price"` + "\n", "rows imported: 1, refused: 0\n"},
		"missing column": {"productId,name,description,cost\n", "nothing imported\nline 1: the columns are productId, name, description and price; found productId, name, description, cost\n"},
		"open quote":     {"productId,\"name\n", "nothing imported\nline 1: at byte 16: a quote is not closed, or not followed by a comma\n"},
		"empty":          {"\n", "nothing imported\nline 1: it is empty\n"},
	} {
		_, result, err := read(strings.NewReader(test.header + "p1,Lamp,A lamp,339"))
		if err != nil || result != test.want {
			t.Errorf("%s: got %q, %v, want %q", name, result, err, test.want)
		}
	}
}

func TestBlankLinesAndNoFinalNewline(t *testing.T) {
	t.Parallel()
	actions, result, err := read(strings.NewReader(header + "\r\n\np1,Lamp,A lamp,339\r\n \np2,Mug,A mug,165"))
	if err != nil || len(actions) != 2 || result != "rows imported: 2, refused: 0\n" {
		t.Errorf("got %d actions, %q, %v", len(actions), result, err)
	}
}

func TestErrorOfTheFile(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	actions, _, err := read(iotest.TimeoutReader(iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || actions != nil {
		t.Errorf("got %v, %v, want the reader's error", actions, err)
	}
}
