package resolver_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/internal/authz"
	"github.com/reventless-go/reventless/internal/resolver"
)

func TestWhoMayDoWhat(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	const (
		ok  = ""
		who = resolver.Unauthenticated
		no  = resolver.Forbidden
	)
	write := func(owner string) object { return object{"id": "p1", "owner": owner, "title": "t", "size": 1} }
	id := object{"id": "ada"}
	for _, tt := range []struct {
		kind                           api.OperationKind
		name                           string
		args                           object
		nobody, ada, bob, clerk, admin resolver.Code
	}{
		{api.Mutation, "shopPaperRead", id, ok, ok, ok, ok, ok},
		{api.Mutation, "shopPaperLose", id, who, ok, ok, ok, ok},
		{api.Mutation, "shopPaperStamp", id, who, no, no, ok, no},
		{api.Mutation, "shopPaperSign", id, who, ok, no, no, no},
		{api.Mutation, "shopPaperWrite", write("ada"), who, ok, no, ok, no},
		{api.Mutation, "shopPaperWrite", write(""), who, no, no, ok, no},
		{api.Mutation, "shopJobStamp", id, who, no, no, ok, no},
		{api.Mutation, "shopJobWrite", write("bob"), who, no, ok, ok, no},

		{api.Query, "shopOpenPaper", id, ok, ok, ok, ok, ok},
		{api.Query, "shopKnownPaper", id, who, ok, ok, ok, ok},
		{api.Query, "shopStaffPaper", id, who, no, no, ok, no},
		{api.Query, "shopPaper", id, who, ok, ok, ok, ok},
		{api.Query, "shopOpenPapers", nil, ok, ok, ok, ok, ok},
		{api.Query, "shopKnownPapers", nil, who, ok, ok, ok, ok},
		{api.Query, "shopStaffPapers", nil, who, no, no, ok, no},
		{api.Query, "shopPapers", nil, who, ok, ok, ok, ok},
		{api.Query, "shopOpenPapersByTitle", object{"title": "t"}, ok, ok, ok, ok, ok},
		{api.Query, "shopStaffPapersByTitle", object{"title": "t"}, who, no, no, ok, no},
		{api.Query, "shopPapersByOwner", object{"owner": "ada"}, who, ok, ok, ok, ok},
		{api.Query, "shopPageItems", id, who, ok, ok, ok, ok},
		{api.Query, "shopPaperEvents", id, who, no, no, no, ok},
		{api.Query, "shopJobEvents", id, who, no, no, no, ok},
		{api.Query, "commandOutcome", object{"commandId": "c", "target": "Shop.Job"}, ok, ok, ok, ok, ok},

		{api.Subscription, "shopOpenPaperChanged", nil, ok, ok, ok, ok, ok},
		{api.Subscription, "shopKnownPaperChanged", nil, who, ok, ok, ok, ok},
		{api.Subscription, "shopStaffPaperChanged", nil, who, no, no, ok, no},
		{api.Subscription, "shopPaperChanged", id, who, ok, ok, ok, ok},
		{api.Subscription, "commandOutcome", object{"commandId": "c", "target": "Shop.Job"}, ok, ok, ok, ok, ok},
	} {
		for _, c := range []struct {
			who  authz.Caller
			want resolver.Code
		}{{nobody, tt.nobody}, {ada, tt.ada}, {bob, tt.bob}, {clerk, tt.clerk}, {admin, tt.admin}} {
			var err error
			if tt.kind == api.Subscription {
				_, err = r.Subscribe(t.Context(), r.call(tt.kind, tt.name, c.who, tt.args))
			} else {
				_, err = r.Resolve(t.Context(), r.call(tt.kind, tt.name, c.who, tt.args))
			}
			if got := r.code(err); got != c.want {
				t.Errorf("%s %s %v by %q: got %q, want %q", tt.kind, tt.name, tt.args, c.who.User, got, c.want)
			}
		}
	}
	for _, o := range r.api.Operations {
		if strings.Contains(o.Name, "Burn") || strings.Contains(o.Name, "ecret") {
			t.Errorf("%s is in the API", o.Name)
		}
	}
}

// A refused command has no effect.
func TestRefusedCommandsHaveNoEffect(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	r.wantCode(api.Mutation, "shopPaperWrite", bob, object{"id": "p", "owner": "ada", "title": "t", "size": 1}, resolver.Forbidden)
	r.wantCode(api.Mutation, "shopPaperStamp", ada, object{"id": "p"}, resolver.Forbidden)
	wantEqual(t, "events", len(r.page("shopPaperEvents", admin, object{"id": "p"}).ids), 0)
}

func TestOwnersSeeTheirRowsOnly(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	for i, owner := range []string{"ada", "bob", "ada", "", "Ada", "ada"} {
		id := string(rune('a' + i))
		r.save(owned, id, Paper{Owner: owner, Title: "t", Size: float64(i)})
		r.save(pages, "book", Page{Number: id, Owner: owner, Words: float64(i)})
	}
	for _, tt := range []struct {
		who  authz.Caller
		want string
	}{{ada, "a c f"}, {bob, "b"}, {admin, ""}, {clerk, "a b c d e f"}} {
		for _, args := range []object{
			{"first": 100}, {"first": 100, "orderBy": object{"field": "size"}}, {"last": 100, "orderBy": object{"field": "id", "direction": "ASC"}},
		} {
			p := r.page("shopPapers", tt.who, args)
			wantEqual(t, tt.who.User+" lists", strings.Join(p.ids, " "), tt.want)
			wantEqual(t, tt.who.User+" has more", p.next || p.previous, false)
		}
		wantEqual(t, tt.who.User+" by title", strings.Join(r.page("shopPapersByTitle", tt.who, object{"title": "t"}).ids, " "), tt.want)
		seen := strings.Fields(tt.want)
		for i := range 6 {
			id := string(rune('a' + i))
			row := r.query("shopPaper", tt.who, object{"id": id})
			wantEqual(t, tt.who.User+" gets "+id, row != nil, strings.Contains(tt.want, id))
		}
		// Pages are as full as those of a caller that sees all rows.
		if len(seen) > 1 {
			p := r.page("shopPapers", tt.who, object{"first": 2})
			wantEqual(t, tt.who.User+" on a page", strings.Join(p.ids, " "), strings.Join(seen[:2], " "))
			wantEqual(t, tt.who.User+" goes on", p.next, len(seen) > 2)
		}
	}
	wantEqual(t, "another's index", len(r.page("shopPapersByOwner", ada, object{"owner": "bob"}).ids), 0)
	wantEqual(t, "an index key without rows", len(r.page("shopPapersByOwner", ada, object{"owner": "Ada"}).ids), 0)
	wantEqual(t, "a filter widens nothing", len(r.page("shopPapers", ada, object{"filter": object{"owner": object{"equal": "bob"}}}).ids), 0)
	// The index does not include the owner field, but is still restricted to the owner.
	wantEqual(t, "an index without the owner", len(r.page("shopPapersBySize", bob, object{"size": 0}).ids), 0)
	wantEqual(t, "items", strings.Join(r.page("shopPageItems", ada, object{"id": "book"}).ids, " "), "book/a book/c book/f")
	wantEqual(t, "an item", r.query("shopPage", ada, object{"id": "book", "number": "a"}) != nil, true)
	wantEqual(t, "another's item", r.query("shopPage", ada, object{"id": "book", "number": "b"}), nil)
	wantEqual(t, "no item", r.query("shopPage", ada, object{"id": "book", "number": "x"}), nil)
}

// watch reads a subscription in a bubble; got returns the values received so far.
func (r *run) watch(ctx context.Context, name string, who authz.Caller, args object) (got func() []object) {
	r.t.Helper()
	c := r.call(api.Subscription, name, who, args)
	values, err := r.Subscribe(ctx, c)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []object
	go func() {
		for v, err := range values {
			if err != nil {
				out = append(out, object{"error": string(r.code(err))})
				continue
			}
			if o, ok := r.show(c.Operation, v).(object); ok {
				out = append(out, o)
			} else {
				out = append(out, nil)
			}
		}
		out = append(out, object{"over": true})
	}()
	return func() []object {
		synctest.Wait()
		return out
	}
}

// changes are changes as "KIND id title".
func changes(values []object) string {
	var out []string
	for _, v := range values {
		if v["kind"] == nil {
			out = append(out, "over")
			continue
		}
		s := v["kind"].(string) + " " + v["id"].(string)
		if row, ok := v["row"].(object); ok {
			s += " " + row["title"].(string)
			if row["id"] != v["id"] {
				s += " of another id"
			}
		}
		out = append(out, s)
	}
	return strings.Join(out, ", ")
}

func TestSubscribersReceiveOnlyWhatTheyMaySee(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, resolver.Options{})
		ctx, cancel := context.WithCancel(t.Context())
		r.save(owned, "early", Paper{Owner: "ada"})
		byAda, byBob, byClerk := r.watch(ctx, "shopPaperChanged", ada, nil), r.watch(ctx, "shopPaperChanged", bob, nil), r.watch(ctx, "shopPaperChanged", clerk, nil)
		one, none := r.watch(ctx, "shopPaperChanged", clerk, object{"id": "x"}), r.watch(ctx, "shopPaperChanged", bob, object{"id": "x"})
		r.save(owned, "x", Paper{Owner: "ada", Title: "one"})
		r.save(owned, "x", Paper{Owner: "ada", Title: "two"})
		r.save(owned, "y", Paper{Owner: "bob", Title: "three"})
		r.save(owned, "z", Paper{Title: "four"})
		r.remove(owned, "x", "")
		r.remove(owned, "y", "")
		r.remove(owned, "z", "")
		wantEqual(t, "ada", changes(byAda()), "ADDED x one, UPDATED x two, REMOVED x")
		wantEqual(t, "bob", changes(byBob()), "ADDED y three, REMOVED y")
		wantEqual(t, "the clerk", changes(byClerk()), "ADDED x one, UPDATED x two, ADDED y three, ADDED z four, REMOVED x, REMOVED y, REMOVED z")
		wantEqual(t, "one row", changes(one()), "ADDED x one, UPDATED x two, REMOVED x")
		wantEqual(t, "another's row", changes(none()), "")
		cancel()
		wantEqual(t, "the end", changes(byBob()), "ADDED y three, REMOVED y, over")
		if a, b := byAda()[0]["revision"].(float64), byAda()[1]["revision"].(float64); a >= b {
			t.Errorf("the revisions are %v and %v", a, b)
		}
	})
}

func TestSubscribersOfPagesAreToldTheSubID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, resolver.Options{})
		got := r.watch(t.Context(), "shopPageChanged", ada, object{"id": "book"})
		r.save(pages, "book", Page{Number: "7", Owner: "ada"})
		r.save(pages, "other", Page{Number: "8", Owner: "ada"})
		r.remove(pages, "book", "7")
		values := got()
		wantEqual(t, "changes", len(values), 2)
		for _, v := range values {
			wantEqual(t, "sub id", v["subId"], any("7"))
		}
	})
}

func TestOutcomesAreForTheSender(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, resolver.Options{})
		args := object{"commandId": "c1", "target": "Shop.Job"}
		wantEqual(t, "before", r.query("commandOutcome", ada, args), nil)
		mine, administers := r.watch(t.Context(), "commandOutcome", ada, args), r.watch(t.Context(), "commandOutcome", admin, args)
		others := r.watch(t.Context(), "commandOutcome", bob, args)
		wantEqual(t, "the answer", r.send("shopJobLose", ada, object{"id": "j", "commandId": "c1"})["__typename"], any("CommandPending"))
		for _, who := range []authz.Caller{ada, admin} {
			wantEqual(t, who.User+" asks", r.query("commandOutcome", who, args).(object)["__typename"], any("CommandPending"))
		}
		wantEqual(t, "changes while it is pending", len(mine()), 0)
		r.wake()
		for _, who := range []authz.Caller{ada, admin} {
			o := r.query("commandOutcome", who, args).(object)
			wantEqual(t, who.User+" asks again", o["__typename"], any("CommandAccepted"))
			wantEqual(t, "entity", o["entityId"], any("j"))
		}
		for _, who := range []authz.Caller{nobody, bob, clerk} {
			wantEqual(t, who.User+" asks", r.query("commandOutcome", who, args), nil)
		}
		for name, got := range map[string]func() []object{"ada": mine, "the admin": administers} {
			values := got()
			if len(values) != 2 || values[0]["__typename"] != "CommandAccepted" || values[1]["over"] == nil {
				t.Errorf("%s receives %v", name, values)
			}
		}
		for _, v := range others() {
			if v["commandId"] != nil {
				t.Errorf("bob receives %v", v)
			}
		}
		r.wantCode(api.Mutation, "shopJobLose", bob, object{"id": "j", "commandId": "c1"}, resolver.Forbidden)
		wantEqual(t, "after a stranger's try", r.query("commandOutcome", ada, args).(object)["__typename"], any("CommandAccepted"))
	})
}

// The outcome of a command that was sent without a token can be read without one.
func TestOutcomesOfCommandsWithoutASender(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	r.send("shopJobRead", nobody, object{"id": "j", "commandId": "c"})
	for _, tt := range []struct {
		who  authz.Caller
		sees bool
	}{{nobody, true}, {admin, true}, {ada, false}} {
		wantEqual(t, tt.who.User+" sees the outcome", r.query("commandOutcome", tt.who, object{"commandId": "c", "target": "Shop.Job"}) != nil, tt.sees)
	}
}

func TestSlowSubscribersAreDropped(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	c := r.call(api.Subscription, "shopOpenPaperChanged", nobody, nil)
	values, err := r.Subscribe(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	for range 1100 {
		r.save(open, "x", Paper{})
	}
	var last error
	for _, err := range values {
		last = err
	}
	wantEqual(t, "the end", r.code(last), resolver.Unavailable)
}

func TestSubscriptionsThatCannotBegin(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	for _, id := range []string{"", strings.Repeat("x", driver.MaxIDBytes+1), "a\x00"} {
		_, err := r.Subscribe(t.Context(), r.call(api.Subscription, "commandOutcome", ada, object{"commandId": id, "target": "Shop.Job"}))
		wantEqual(t, "a bad command id", r.code(err), resolver.BadInput)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := r.Subscribe(ctx, r.call(api.Subscription, "shopOpenPaperChanged", nobody, nil))
	wantEqual(t, "a call that is over", r.code(err), resolver.Unavailable)
}
