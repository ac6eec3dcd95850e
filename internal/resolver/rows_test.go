package resolver_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/internal/resolver"
)

// stored is a row with its id and, of a page, its number.
type stored struct {
	id, sub string
	paper   Paper
}

func (s stored) name() string {
	if s.sub != "" {
		return s.id + "/" + s.sub
	}
	return s.id
}

// list is an ordered list of rows.
type list struct {
	name    string
	args    object
	has     func(stored) bool
	compare func(a, b stored) int // before ids
	turned  bool
}

// of returns the names of the rows of the list, in its order.
func (l list) of(all []stored) []string {
	var in []stored
	for _, s := range all {
		if l.has == nil || l.has(s) {
			in = append(in, s)
		}
	}
	slices.SortFunc(in, func(a, b stored) int {
		c := cmp.Or(l.compare(a, b), strings.Compare(a.id, b.id), strings.Compare(a.sub, b.sub))
		if l.turned {
			return -c
		}
		return c
	})
	out := []string{}
	for _, s := range in {
		out = append(out, s.name())
	}
	return out
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// papersLists returns the lists of papers that can be read in both directions.
func papersLists() []list {
	var out []list
	for _, turned := range []bool{false, true} {
		direction := any("ASC")
		if turned {
			direction = "DESC"
		}
		for field, compare := range map[string]func(a, b stored) int{
			"id":    func(a, b stored) int { return 0 },
			"owner": func(a, b stored) int { return strings.Compare(a.paper.Owner, b.paper.Owner) },
			"size":  func(a, b stored) int { return cmp.Compare(a.paper.Size, b.paper.Size) },
			"done":  func(a, b stored) int { return number(a.paper.Done) - number(b.paper.Done) },
			"note":  func(a, b stored) int { return strings.Compare(text(a.paper.Note), text(b.paper.Note)) },
			"at":    func(a, b stored) int { return a.paper.At.Compare(b.paper.At) },
		} {
			out = append(out, list{"shopOpenPapers", object{"orderBy": object{"field": field, "direction": direction}}, nil, compare, turned})
		}
		size := func(a, b stored) int { return cmp.Compare(a.paper.Size, b.paper.Size) }
		same := func(a, b stored) int { return 0 }
		out = append(out,
			list{"shopOpenPapers", object{"orderBy": object{"field": "title", "direction": direction}, "filter": object{"done": object{"equal": true}}}, func(s stored) bool { return s.paper.Done }, func(a, b stored) int { return strings.Compare(a.paper.Title, b.paper.Title) }, turned},
			list{"shopOpenPapersByOwner", object{"owner": "ada", "direction": direction}, func(s stored) bool { return s.paper.Owner == "ada" }, size, turned},
			list{"shopOpenPapersByOwner", object{"owner": "ada", "size": object{"between": []any{1, 2}}, "direction": direction}, func(s stored) bool { return s.paper.Owner == "ada" && s.paper.Size >= 1 && s.paper.Size <= 2 }, size, turned},
			list{"shopOpenPapersByTitle", object{"title": "b", "direction": direction}, func(s stored) bool { return s.paper.Title == "b" }, same, turned},
			list{"shopOpenPapersBySize", object{"size": 1, "direction": direction}, func(s stored) bool { return s.paper.Size == 1 }, func(a, b stored) int { return a.paper.At.Compare(b.paper.At) }, turned},
		)
	}
	return out
}

// randomPaper has few values, so that many are equal.
func randomPaper(rng *rand.Rand) Paper {
	p := Paper{
		Owner: []string{"ada", "ada", "bob"}[rng.IntN(3)], Title: []string{"a", "b", "ü"}[rng.IntN(3)], Size: float64(rng.IntN(4)), Done: rng.IntN(2) > 0,
		At: time.Date(2026, 1, 1+rng.IntN(3), 0, 0, 0, 0, time.UTC),
	}
	if rng.IntN(2) > 0 {
		p.Note = []*string{new("x"), new("y")}[rng.IntN(2)]
	}
	return p
}

// walk reads all pages of a list in one direction and returns the rows in the order
// of the list.
func (r *run) walk(l list, size int, backwards bool, total int) []string {
	r.t.Helper()
	got := []string{}
	count, cursor := "first", "after"
	if backwards {
		count, cursor = "last", "before"
	}
	args := with(l.args, count, size)
	for n := 0; n <= total; n++ {
		p := r.page(l.name, nobody, args)
		more, less := p.next, p.previous
		from := p.end
		if backwards {
			got = append(p.ids, got...)
			more, less, from = less, more, p.start
		} else {
			got = append(got, p.ids...)
		}
		if more != (len(got) < total) || less != (n > 0) {
			r.t.Errorf("%s %v: after %d of %d rows: %+v", l.name, args, len(got), total, p)
		}
		if more && len(p.ids) != size {
			r.t.Errorf("%s %v: a page of only %d rows is not the last", l.name, args, len(p.ids))
		}
		if !more {
			return got
		}
		args[cursor] = from
	}
	r.t.Errorf("%s %v: the pages do not end", l.name, args)
	return got
}

func TestPagesAreTheListInOrder(t *testing.T) {
	t.Parallel()
	seeds(t, 1, func(t *testing.T, rng *rand.Rand) {
		r := start(t, resolver.Options{})
		var all []stored
		for i := range 9 {
			s := stored{id: fmt.Sprintf("%c%d", 'a'+rng.IntN(26), i), paper: randomPaper(rng)}
			all = append(all, s)
			r.save(open, s.id, s.paper)
		}
		for _, l := range papersLists() {
			want := l.of(all)
			for size := 1; size <= len(want)+1; size++ {
				for _, backwards := range []bool{false, true} {
					wantEqual(t, fmt.Sprintf("%s %v by %d, backwards %v", l.name, l.args, size, backwards), r.walk(l, size, backwards, len(want)), want)
				}
			}
			if len(want) < 3 {
				continue
			}
			// Change the direction in the middle of the list.
			p := r.page(l.name, nobody, with(l.args, "first", 2))
			wantEqual(t, "before the second row", r.page(l.name, nobody, with(l.args, "last", 5, "before", p.end)).ids, want[:1])
			wantEqual(t, "before the first row", len(r.page(l.name, nobody, with(l.args, "last", 5, "before", p.start)).ids), 0)
			p = r.page(l.name, nobody, with(l.args, "last", 2))
			wantEqual(t, "after the second row from the end", r.page(l.name, nobody, with(l.args, "first", 5, "after", p.start)).ids, want[len(want)-1:])
			// Before without last is a page of the default size.
			wantEqual(t, "before alone", r.page(l.name, nobody, with(l.args, "before", p.end)).ids, want[:len(want)-1])
		}
		// Without an order the pages go forward and have each row once.
		want := list{compare: func(a, b stored) int { return 0 }}.of(all)
		for size := 1; size <= len(all)+1; size++ {
			got := r.walk(list{name: "shopOpenPapers"}, size, false, len(all))
			slices.Sort(got)
			wantEqual(t, fmt.Sprintf("without an order by %d", size), got, want)
		}
	})
}

func TestPagesOfItems(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	var all []stored
	for _, n := range []string{"10", "2", "1", "ü", "b", "a", "B"} {
		all = append(all, stored{id: "book", sub: n})
		r.save(pages, "book", Page{Number: n, Owner: "ada", Words: float64(len(n))})
		r.save(pages, "other", Page{Number: n, Owner: "ada"})
		r.save(pages, "book", Page{Number: n + "x", Owner: "bob"})
	}
	for _, turned := range []bool{false, true} {
		l := list{args: object{"id": "book", "direction": map[bool]any{true: "DESC", false: nil}[turned]}, compare: func(a, b stored) int { return 0 }, turned: turned}
		want := l.of(all)
		for size := 1; size <= len(all); size++ {
			var got []string
			for args := with(l.args, "first", size); ; {
				p := r.page("shopPageItems", ada, args)
				got = append(got, p.ids...)
				if !p.next {
					break
				}
				args["after"] = p.end
			}
			wantEqual(t, fmt.Sprintf("items by %d", size), got, want)
		}
		wantEqual(t, "the last items", r.page("shopPageItems", ada, with(l.args, "last", 2)).ids, want[len(want)-2:])
	}
	for condition, want := range map[string]string{
		`{"equal":"2"}`: "2", `{"less":"2"}`: "1 10", `{"lessOrEqual":"2"}`: "1 10 2", `{"greater":"a"}`: "b ü", `{"greaterOrEqual":"a"}`: "a b ü",
		`{"between":["10","a"]}`: "10 2 B a", `{"beginsWith":"1"}`: "1 10", `{"beginsWith":"1","less":null}`: "1 10",
	} {
		var c object
		if err := json.Unmarshal([]byte(condition), &c); err != nil {
			t.Fatal(err)
		}
		p := r.page("shopPageItems", ada, object{"id": "book", "number": c})
		wantEqual(t, condition, strings.Join(p.ids, " "), strings.TrimSpace(" "+strings.ReplaceAll(" "+want, " ", " book/")))
	}
}

// While rows are added and removed, a reader of all pages sees each row that stays
// once, in order.
func TestRowsThatStayAreSeenOnce(t *testing.T) {
	t.Parallel()
	seeds(t, 2, func(t *testing.T, rng *rand.Rand) {
		r := start(t, resolver.Options{})
		stays := map[string]stored{}
		for i := range 20 {
			s := stored{id: fmt.Sprintf("%c-stays-%d", 'a'+rng.IntN(26), i), paper: randomPaper(rng)}
			stays[s.id] = s
			r.save(open, s.id, s.paper)
		}
		var goes []string
		disturb := func() {
			for range rng.IntN(6) {
				if len(goes) > 0 && rng.IntN(2) > 0 {
					i := rng.IntN(len(goes))
					r.remove(open, goes[i], "")
					goes = slices.Delete(goes, i, i+1)
					continue
				}
				id := fmt.Sprintf("%c-goes-%d", 'a'+rng.IntN(26), rng.IntN(1000))
				goes = append(goes, id)
				r.save(open, id, randomPaper(rng))
			}
		}
		all := make([]stored, 0, len(stays))
		for _, s := range stays {
			all = append(all, s)
		}
		for _, l := range papersLists() {
			for _, backwards := range []bool{false, true} {
				var got []string
				args := with(l.args, "first", 1+rng.IntN(4))
				if backwards {
					args = with(l.args, "last", 1+rng.IntN(4))
				}
				for range 200 {
					disturb()
					p := r.page(l.name, nobody, args)
					ids := slices.DeleteFunc(p.ids, func(id string) bool { _, ok := stays[id]; return !ok })
					if backwards {
						got = append(ids, got...)
						args["before"] = p.start
					} else {
						got = append(got, ids...)
						args["after"] = p.end
					}
					if more := map[bool]bool{true: p.previous, false: p.next}[backwards]; !more {
						break
					}
				}
				if want := l.of(all); !slices.Equal(got, want) {
					t.Errorf("%s %v, backwards %v:\ngot  %v\nwant %v", l.name, l.args, backwards, got, want)
				}
			}
		}
	})
}

func TestPageArguments(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{DefaultPage: 3, MaxPage: 5})
	for i := range 6 {
		r.save(open, fmt.Sprint(i), Paper{Owner: "ada", Title: "t"})
	}
	ordered := object{"orderBy": object{"field": "id"}}
	cursor := r.page("shopOpenPapers", nobody, with(ordered, "first", 2)).end
	for _, tt := range []struct {
		args object
		code resolver.Code
		ids  string
	}{
		{nil, "", "0 1 2"},
		{object{"first": nil, "after": nil}, "", "0 1 2"},
		{object{"first": 5}, "", "0 1 2 3 4"},
		{object{"first": int64(1)}, "", "0"},
		{object{"first": 2.0}, "", "0 1"},
		{object{"first": json.Number("2")}, "", "0 1"},
		{object{"last": 2}, "", "4 5"},
		{object{"after": cursor}, "", "2 3 4"},
		{object{"before": cursor}, "", "0"},
		{object{"before": cursor, "last": 1}, "", "0"},
		{object{"first": 6}, resolver.PageSize, ""},
		{object{"last": 6}, resolver.PageSize, ""},
		{object{"first": int64(1) << 40}, resolver.PageSize, ""},
		{object{"first": -1}, resolver.BadInput, ""},
		{object{"last": -1}, resolver.BadInput, ""},
		{object{"first": json.Number("1.5")}, resolver.BadInput, ""},
		{object{"first": "2"}, resolver.BadInput, ""},
		{object{"first": 1, "last": 1}, resolver.BadInput, ""},
		{object{"after": cursor, "before": cursor}, resolver.BadInput, ""},
		{object{"after": cursor, "last": 1}, resolver.BadInput, ""},
		{object{"before": cursor, "first": 1}, resolver.BadInput, ""},
		{object{"after": "x"}, resolver.BadInput, ""},
		{object{"before": "x"}, resolver.BadInput, ""},
		{object{"after": "x", "first": 0}, resolver.BadInput, ""},
	} {
		v, code := r.ask(api.Query, "shopOpenPapers", nobody, with(ordered, flat(tt.args)...))
		if code != tt.code {
			t.Errorf("%v: got %q, want %q", tt.args, code, tt.code)
		}
		var ids []string
		if v != nil {
			for _, e := range v.(object)["edges"].([]any) {
				ids = append(ids, e.(object)["node"].(object)["id"].(string))
			}
		}
		wantEqual(t, fmt.Sprint(tt.args), strings.Join(ids, " "), tt.ids)
	}
	for name, args := range map[string]object{"shopOpenPapers": ordered, "shopOpenPapersByTitle": {"title": "t"}} {
		none := r.page(name, nobody, with(args, "first", 0))
		wantEqual(t, "first: 0", words(len(none.ids), none.next, none.previous), "0 true false")
		none = r.page(name, nobody, with(args, "last", 0))
		wantEqual(t, "last: 0", words(len(none.ids), none.next, none.previous), "0 false true")
	}
	none := r.page("shopKnownPapers", ada, with(ordered, "first", 0))
	wantEqual(t, "first: 0 of nothing", words(len(none.ids), none.next, none.previous), "0 false false")
	// Without orderBy there is no backward paging.
	for _, args := range []object{{"last": 1}, {"before": cursor}, {"last": 0}, {"orderBy": nil, "last": 1}} {
		r.wantCode(api.Query, "shopOpenPapers", nobody, args, resolver.BadInput)
	}
}

// flat returns an object as alternating keys and values.
func flat(o object) []any {
	var out []any
	for k, v := range o {
		out = append(out, k, v)
	}
	return out
}

func TestDefaultsOfPages(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	for i := range 120 {
		r.save(open, fmt.Sprint(i), Paper{})
	}
	wantEqual(t, "the default page", len(r.page("shopOpenPapers", nobody, nil).ids), 20)
	wantEqual(t, "the greatest page", len(r.page("shopOpenPapers", nobody, object{"first": 100}).ids), 100)
	r.wantCode(api.Query, "shopOpenPapers", nobody, object{"first": 101}, resolver.PageSize)
}

func TestCursorsOfOtherQueriesAreRefused(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	for i := range 4 {
		for _, m := range []string{open, known} {
			r.save(m, fmt.Sprint(i), Paper{Owner: "ada", Title: "t", Size: 1})
		}
		r.save(pages, "p", Page{Number: fmt.Sprint(i), Owner: "ada"})
		r.save(pages, "q", Page{Number: fmt.Sprint(i), Owner: "ada"})
	}
	order := func(f string) object { return object{"orderBy": object{"field": f}} }
	lists := []struct {
		name string
		args object
	}{
		{"shopOpenPapers", nil},
		{"shopOpenPapers", order("id")},
		{"shopOpenPapers", order("size")},
		{"shopOpenPapers", order("title")},
		{"shopOpenPapers", object{"filter": object{"size": object{"equal": 1}}}},
		{"shopKnownPapers", nil},
		{"shopKnownPapers", order("size")},
		{"shopOpenPapersByOwner", object{"owner": "ada"}},
		{"shopOpenPapersByOwner", object{"owner": "ada", "size": object{"less": 5}}},
		{"shopOpenPapersByTitle", object{"title": "t"}},
		{"shopOpenPapersBySize", object{"size": 1}},
		{"shopKnownPapersByOwner", object{"owner": "ada"}},
		{"shopPageItems", object{"id": "p"}},
		{"shopPageItems", object{"id": "q"}},
		{"shopPages", nil},
	}
	for i, from := range lists {
		cursor := r.page(from.name, ada, with(from.args, "first", 2)).end
		for j, to := range lists {
			v, code := r.ask(api.Query, to.name, ada, with(to.args, "after", cursor))
			switch {
			case i == j && (code != "" || len(v.(object)["edges"].([]any)) < 2):
				t.Errorf("%s %v: with its own cursor: %v, %q", to.name, to.args, v, code)
			case i != j && code != resolver.BadInput:
				t.Errorf("a cursor of %s %v fits %s %v: %q", from.name, from.args, to.name, to.args, code)
			}
		}
	}
}

func TestFilters(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	noon := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	r.save(open, "a", Paper{Owner: "ada", Title: "alpha", Size: 1, At: noon, Done: true, Note: new("n"), Tags: []string{"x", "y"}, Marks: []float64{1, 2}, Flags: []bool{true}})
	r.save(open, "b", Paper{Owner: "bob", Title: "beta", Size: 2, At: noon.Add(time.Hour), Tags: []string{"y"}, Marks: []float64{2.5}})
	r.save(open, "c", Paper{Owner: "ada", Title: "älpha", Size: -3.5, At: noon.Add(24 * time.Hour), Done: true, Note: new(""), Flags: []bool{false, true}})
	for _, tt := range []struct{ filter, want string }{
		{`{}`, "a b c"},
		{`{"title":null}`, "a b c"},
		{`{"title":{"equal":null}}`, "a b c"},
		{`{"title":{"equal":"beta"}}`, "b"},
		{`{"title":{"less":"beta"}}`, "a"},
		{`{"title":{"greaterOrEqual":"beta"}}`, "b c"},
		{`{"title":{"between":["alpha","beta"]}}`, "a b"},
		{`{"title":{"beginsWith":"al"}}`, "a"},
		{`{"title":{"contains":"lpha"}}`, "a c"},
		{`{"title":{"notContains":"lpha"}}`, "b"},
		{`{"note":{"exists":true}}`, "a c"},
		{`{"note":{"exists":false}}`, "b"},
		{`{"note":{"unequal":"n"}}`, "b c"},
		{`{"size":{"lessOrEqual":1}}`, "a c"},
		{`{"size":{"equal":2}}`, "b"},
		{`{"size":{"greater":-3.5}}`, "a b"},
		{`{"size":{"greaterOrEqual":-3.5,"less":2}}`, "a c"},
		{`{"size":{"between":[-3.5,1]}}`, "a c"},
		{`{"done":{"equal":true}}`, "a c"},
		{`{"done":{"equal":false}}`, "b"},
		{`{"at":{"equal":"2026-06-01T14:00:00+02:00"}}`, "a"},
		{`{"at":{"less":"2026-06-01T06:30:00-06:00"}}`, "a"},
		{`{"at":{"greater":"2026-06-02T03:00:00+14:00"}}`, "c"},
		{`{"at":{"between":["2026-06-01T13:00:00.000+01:00","2026-06-01T13:00:00Z"]}}`, "a b"},
		{`{"tags":{"contains":"y"}}`, "a b"},
		{`{"tags":{"notContains":"x"}}`, "b c"},
		{`{"marks":{"contains":2.5}}`, "b"},
		{`{"flags":{"contains":false}}`, "c"},
		{`{"owner":{"equal":"ada"},"done":{"equal":true},"size":{"less":0}}`, "c"},
	} {
		for _, useNumber := range []bool{false, true} {
			var filter object
			d := json.NewDecoder(strings.NewReader(tt.filter))
			if useNumber {
				d.UseNumber() // the other representation of numbers
			}
			if err := d.Decode(&filter); err != nil {
				t.Fatal(err)
			}
			got := strings.Join(r.page("shopOpenPapers", nobody, object{"filter": filter}).ids, " ")
			wantEqual(t, tt.filter, got, tt.want)
		}
	}
	for _, tt := range []struct {
		filter object
		says   string
	}{
		{object{"at": object{"equal": "noon"}}, `filter.at.equal: "noon" is not a time`},
		{object{"at": object{"equal": "2026-06-01"}}, "filter.at.equal: "},
		{object{"size": object{"between": []any{1}}}, "filter.size.between takes two values, not 1"},
		{object{"size": object{"between": 1}}, "filter.size.between takes two values, not 1"},
		{object{"size": object{"between": []any{1, 2, 3}}}, "filter.size.between takes two values, not 3"},
		{object{"size": object{"between": []any{1, nil}}}, "filter.size.between: the value is not of type "},
		{object{"size": object{"equal": "1"}}, "filter.size.equal: the value is not of type Float"},
		{object{"size": object{"equal": json.Number("1e999")}}, "filter.size.equal: 1e999 is not a number"},
		{object{"done": object{"equal": "true"}}, "filter.done.equal: the value is not of type Boolean"},
		{object{"title": object{"equal": 1}}, "filter.title.equal: the value is not of type String"},
	} {
		_, err := r.Resolve(t.Context(), r.call(api.Query, "shopOpenPapers", nobody, object{"filter": tt.filter}))
		wantEqual(t, fmt.Sprint(tt.filter), r.code(err), resolver.BadInput)
		if err != nil && !strings.Contains(err.Error(), "BAD_USER_INPUT: shopOpenPapers: "+tt.says) {
			t.Errorf("%v: the error is %v", tt.filter, err)
		}
	}
}

func TestIndexConditions(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	for i := range 5 {
		r.save(open, fmt.Sprint(i), Paper{Owner: "ada", Title: "t", Size: float64(i), At: time.Date(2026, 1, 1, i, 0, 0, 0, time.UTC), Done: true})
		r.save(open, fmt.Sprint("x", i), Paper{Owner: "bob", Title: "t", Size: 7, At: time.Date(2026, 1, 1, i, 0, 0, 0, time.UTC)})
	}
	for _, tt := range []struct {
		name string
		args object
		want string
	}{
		{"shopOpenPapersByOwner", object{"size": object{"equal": 2}}, "2"},
		{"shopOpenPapersByOwner", object{"size": object{"less": int64(2)}}, "0 1"},
		{"shopOpenPapersByOwner", object{"size": object{"lessOrEqual": json.Number("2")}}, "0 1 2"},
		{"shopOpenPapersByOwner", object{"size": object{"greater": 2.5}}, "3 4"},
		{"shopOpenPapersByOwner", object{"size": object{"greaterOrEqual": 3, "less": nil}}, "3 4"},
		{"shopOpenPapersByOwner", object{"size": object{"between": []any{1, 3}}}, "1 2 3"},
		{"shopOpenPapersByOwner", object{"size": nil}, "0 1 2 3 4"},
		{"shopOpenPapersByOwner", object{"filter": object{"title": object{"equal": "other"}}}, ""},
		{"shopOpenPapersBySize", object{"at": object{"less": "2026-01-01T03:00:00+01:00"}}, "x0 x1"},
		{"shopOpenPapersBySize", object{"at": object{"between": []any{"2026-01-01T00:00:00-01:00", "2026-01-01T03:00:00Z"}}}, "x1 x2 x3"},
		{"shopOpenPapersBySize", object{"filter": object{"done": object{"equal": true}}}, ""},
	} {
		args := with(tt.args, "owner", "ada")
		if tt.name == "shopOpenPapersBySize" {
			args = with(tt.args, "size", json.Number("7.0"))
		}
		wantEqual(t, fmt.Sprint(tt.name, tt.args), strings.Join(r.page(tt.name, nobody, args).ids, " "), tt.want)
	}
	for _, args := range []object{
		{"owner": "ada", "size": object{}}, {"owner": "ada", "size": object{"less": 1, "greater": 0}}, {"owner": "ada", "size": object{"less": "1"}}, {"owner": 1},
	} {
		r.wantCode(api.Query, "shopOpenPapersByOwner", nobody, args, resolver.BadInput)
	}
	r.wantCode(api.Query, "shopOpenPapersBySize", nobody, object{"size": "7"}, resolver.BadInput)
	// An index with included fields returns only those.
	node := r.page("shopOpenPapersBySize", nobody, object{"size": 7, "first": 1}).nodes[0]
	wantEqual(t, "fields", fmt.Sprint(node), "map[at:2026-01-01T00:00:00Z id:x0 size:7 title:t]")
}

func TestARowIsShownWithItsID(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	r.save(open, `a "b" \ ü`, Paper{Title: "t"})
	row := r.query("shopOpenPaper", nobody, object{"id": `a "b" \ ü`}).(object)
	wantEqual(t, "id", row["id"], any(`a "b" \ ü`))
	wantEqual(t, "title", row["title"], any("t"))
	wantEqual(t, "tags", fmt.Sprint(row["tags"]), "[]")
	r.save(open, "empty", struct{}{})
	row = r.query("shopOpenPaper", nobody, object{"id": "empty"}).(object)
	wantEqual(t, "zero values", fmt.Sprint(row), "map[at:0001-01-01T00:00:00Z done:false flags:[] id:empty marks:[] note:<nil> owner: size:0 tags:[] title:]")
	// A field id in the data does not replace the row's id.
	r.save(open, "real", object{"id": "fake", "title": "t"})
	wantEqual(t, "id", r.query("shopOpenPaper", nobody, object{"id": "real"}).(object)["id"], any("real"))
	wantEqual(t, "none", r.query("shopOpenPaper", nobody, object{"id": "fake"}), nil)
}
