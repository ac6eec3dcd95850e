package resolver_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/reventless-go/reventless"
	"github.com/reventless-go/reventless/automation"
	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/api"
	"github.com/reventless-go/reventless/internal/authz"
	"github.com/reventless-go/reventless/internal/host/core"
	"github.com/reventless-go/reventless/internal/ids"
	"github.com/reventless-go/reventless/internal/resolver"
	"github.com/reventless-go/reventless/message"
	"github.com/reventless-go/reventless/plugin"
)

func TestCommandsAreAnswered(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	accepted := r.send("shopPaperMany", ada, object{"id": "p", "n": 3, "commandId": "c"})
	wantEqual(t, "accepted", words(accepted["__typename"], accepted["commandId"], accepted["entityId"], accepted["sequenceNr"], accepted["eventCount"]), "CommandAccepted c p 1 3")
	for range 2 { // the same id again gets the same answer
		wantEqual(t, "again", fmt.Sprint(r.send("shopPaperMany", ada, object{"id": "p", "n": 3, "commandId": "c"})), fmt.Sprint(accepted))
	}
	r.wantCode(api.Mutation, "shopPaperMany", ada, object{"id": "p", "n": 5, "commandId": "c"}, resolver.ReusedID)
	none := r.send("shopPaperRead", nobody, object{"id": "p"})
	wantEqual(t, "nothing to do", words(none["__typename"], none["eventCount"], none["sequenceNr"]), "CommandAccepted 0 1")
	if none["commandId"] == "" || none["commandId"] == nil {
		t.Error("no command id was generated")
	}
	refused := r.send("shopPaperAsk", ada, object{"id": "p", "commandId": "d"})
	wantEqual(t, "refused", words(refused["__typename"], refused["commandId"], refused["code"], refused["message"] != "", refused["detail"] != nil), "CommandRejected d NotNow true true")
	wantEqual(t, "an id that is a number", r.send("shopPaperLose", ada, object{"id": json.Number("42"), "commandId": int64(7)})["entityId"], any("42"))
	wantEqual(t, "an owner that is a number", r.send("shopPaperSign", authz.Caller{User: "42"}, object{"id": int64(42)})["entityId"], any("42"))
}

func TestCommandIDs(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	lose := func(who authz.Caller, args object, key string) (object, resolver.Code) {
		c := r.call(api.Mutation, "shopPaperLose", who, with(args, "id", "p"))
		c.CommandID = key
		v, err := r.Resolve(t.Context(), c)
		if err != nil {
			return nil, r.code(err)
		}
		return r.show(c.Operation, v).(object), ""
	}
	for _, tt := range []struct {
		name string
		args object
		key  string
		id   any
		code resolver.Code
	}{
		{"argument", object{"commandId": "a"}, "", "a", ""},
		{"key", nil, "b", "b", ""},
		{"both", object{"commandId": "c", "target": "Shop.Job"}, "c", "c", ""},
		{"null and key", object{"commandId": nil}, "d", "d", ""},
		{"they differ", object{"commandId": "e"}, "f", nil, resolver.BadInput},
		{"empty", object{"commandId": ""}, "", nil, resolver.BadInput},
		{"empty and key", object{"commandId": ""}, "g", nil, resolver.BadInput},
		{"too long", object{"commandId": strings.Repeat("x", driver.MaxIDBytes+1)}, "", nil, resolver.BadInput},
		{"control characters", nil, "a\nb", nil, resolver.BadInput},
		{"a derived id", object{"commandId": ids.Derive(time.Time{}, "a")}, "", nil, resolver.BadInput},
		{"a derived id as key", nil, ids.Derive(time.Time{}, "a"), nil, resolver.BadInput},
		{"a UUID", object{"commandId": ids.New(time.Unix(0, 0))}, "", nil, ""},
	} {
		o, code := lose(ada, tt.args, tt.key)
		if code != tt.code || o["commandId"] != tt.id && tt.id != nil {
			t.Errorf("%s: got %v, %q, want %v, %q", tt.name, o, code, tt.id, tt.code)
		}
	}
	for _, id := range []string{"a", "b", "c"} {
		if o, code := lose(bob, nil, id); code != resolver.Forbidden {
			t.Errorf("ada's command %s by bob: got %v, %q", id, o, code)
		}
		if _, code := lose(nobody, nil, id); code != resolver.Unauthenticated {
			t.Errorf("ada's command %s by nobody: got %q", id, code)
		}
		if o, code := lose(ada, nil, id); code != "" || o["__typename"] != "CommandAccepted" {
			t.Errorf("ada's command %s again: got %v, %q", id, o, code)
		}
	}
}

func TestInvalidCommandArguments(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	for _, args := range []object{
		{"id": "", "n": 1}, {"n": 1}, {"id": strings.Repeat("x", 2000), "n": 1}, {"id": "p", "n": 40000}, {"id": "p", "n": "1"}, {"id": "p", "n": nil},
	} {
		r.wantCode(api.Mutation, "shopPaperMany", ada, args, resolver.BadInput)
	}
	_, err := r.Resolve(t.Context(), r.call(api.Mutation, "shopPaperMany", ada, object{"id": "p", "n": 40000}))
	if err == nil || !strings.Contains(err.Error(), "shopPaperMany: n: 40000 is no whole number") {
		t.Errorf("the error is %v", err)
	}
}

func TestCommandsSayWhoSentThem(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	c := r.call(api.Mutation, "shopPaperMany", ada, object{"id": "p", "n": 2, "commandId": "c"})
	c.IP, c.TraceParent = "192.0.2.1", "00-1-2-01"
	if _, err := r.Resolve(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	log, _ := r.host.EventLog("Shop.Paper")
	for commit, err := range log.Read(t.Context(), "p", 0, 0) {
		if err != nil {
			t.Fatal(err)
		}
		m := commit.Commands[0].Meta
		wantEqual(t, "meta", words(m.ID, m.User, m.IP, m.TraceParent), "c ada 192.0.2.1 00-1-2-01")
	}
	for _, n := range r.page("shopPaperEvents", admin, object{"id": "p"}).nodes {
		wantEqual(t, "event", words(n["user"], n["causationId"], n["correlationId"], n["type"], n["version"]), "ada c c Noted 1")
	}
}

func TestHistoryPages(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{DefaultPage: 4, MaxPage: 20})
	var want []string
	for commit, n := range []int{1, 4, 2, 1, 3} {
		r.send("shopPaperMany", ada, object{"id": "p", "n": n})
		for i := range n {
			want = append(want, fmt.Sprintf("%d.%d", commit+1, i))
		}
	}
	r.send("shopPaperMany", ada, object{"id": "other", "n": 2})
	for size := 1; size <= len(want)+1; size++ {
		var got []string
		ids := map[string]bool{}
		args := object{"id": "p", "first": size}
		for n := 0; ; n++ {
			p := r.page("shopPaperEvents", admin, args)
			for _, node := range p.nodes {
				got = append(got, fmt.Sprintf("%v.%v", node["sequenceNr"], node["index"]))
				ids[node["id"].(string)] = true
			}
			if p.next != (len(got) < len(want)) || p.previous != (n > 0) {
				t.Errorf("pages of %d: after %d events next is %v and previous %v", size, len(got), p.next, p.previous)
			}
			if !p.next {
				break
			}
			args["after"] = p.end
		}
		wantEqual(t, fmt.Sprintf("pages of %d", size), got, want)
		wantEqual(t, "ids", len(ids), len(want))
	}
	p := r.page("shopPaperEvents", admin, object{"id": "p"})
	wantEqual(t, "the default page", len(p.ids), 4)
	last := r.page("shopPaperEvents", admin, object{"id": "p", "first": 20})
	behind := r.page("shopPaperEvents", admin, object{"id": "p", "after": last.end})
	wantEqual(t, "behind the end", fmt.Sprint(len(behind.ids), behind.next, behind.previous), "0 false true")
	none := r.page("shopPaperEvents", admin, object{"id": "p", "first": 0})
	wantEqual(t, "first: 0", fmt.Sprint(len(none.ids), none.next, none.previous), "0 true false")
	wantEqual(t, "of nothing", fmt.Sprint(r.page("shopPaperEvents", admin, object{"id": "x"})), fmt.Sprint(page{}))
	for _, bad := range []string{"x", "1", "1.", ".1", "1.-1", "-1.1", "0.0", "1.x", "1.1.1", "99999999999999999999.0"} {
		r.wantCode(api.Query, "shopPaperEvents", admin, object{"id": "p", "after": bad}, resolver.BadInput)
	}
	r.wantCode(api.Query, "shopPaperEvents", admin, object{"id": "p", "first": 21}, resolver.PageSize)
	r.wantCode(api.Query, "shopPaperEvents", admin, object{"id": "p", "first": -1}, resolver.BadInput)
	r.wantCode(api.Query, "shopPaperEvents", admin, object{"id": ""}, resolver.BadInput)
}

func TestWaitForWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, resolver.Options{})
		write := object{"id": "p", "owner": "ada", "title": "one", "size": 1}
		at := r.send("shopPaperWrite", ada, write)["position"]
		var over atomic.Int32
		for i, call := range []resolver.Call{
			r.call(api.Query, "shopPaper", ada, object{"id": "p", "waitFor": []any{at}}),
			r.call(api.Query, "shopPaper", ada, object{"id": "p", "waitFor": at}),
			r.call(api.Query, "shopPapers", ada, object{"waitFor": []any{at, at}}),
			r.call(api.Query, "shopPapersByOwner", ada, object{"owner": "ada", "waitFor": []any{at}}),
		} {
			go func() {
				v, err := r.Resolve(t.Context(), call)
				if err != nil || !strings.Contains(string(v), `"one"`) {
					t.Errorf("query %d: got %s, %v", i, v, err)
				}
				over.Add(1)
			}()
		}
		synctest.Wait()
		wantEqual(t, "they wait", over.Load(), 0)
		wantEqual(t, "who does not wait", r.query("shopPaper", ada, object{"id": "p"}), nil)
		wantEqual(t, "no positions", r.query("shopPaper", ada, object{"id": "p", "waitFor": []any{}}), nil)
		began := time.Now()
		r.wake()
		synctest.Wait()
		wantEqual(t, "they are over", over.Load(), 4)
		wantEqual(t, "by the clock", time.Since(began), 0)
		// A position in a log that the read model does not use is not waited for.
		job := r.send("shopJobLose", ada, object{"id": "j", "commandId": "c"})
		wantEqual(t, "no position of what is pending", job["position"], nil)
		r.idle()
		other := r.query("commandOutcome", ada, object{"commandId": "c", "target": "Shop.Job"}).(object)["position"]
		wantEqual(t, "another log", r.query("shopPaper", ada, object{"id": "p", "waitFor": []any{other}}) != nil, true)
		wantEqual(t, "by the clock", time.Since(began), 0)
	})
}

func TestWaitForTimesOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, resolver.Options{MaxWait: 3 * time.Second})
		at := r.send("shopPaperWrite", ada, object{"id": "p", "owner": "ada", "title": "one", "size": 1})["position"]
		began := time.Now()
		// The time limit applies to all positions together.
		r.wantCode(api.Query, "shopPapers", ada, object{"waitFor": []any{at, at, at}}, resolver.WaitTimeout)
		wantEqual(t, "it took", time.Since(began), 3*time.Second)
	})
}

func TestWaitForStopsAtAParkedCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := start(t, resolver.Options{})
		r.wake()
		before := r.send("shopPaperWrite", ada, object{"id": "p", "owner": "ada", "title": "one", "size": 1})["position"]
		at := r.send("shopPaperSpoil", ada, object{"id": "p"})["position"]
		after := r.send("shopPaperLose", ada, object{"id": "p"})["position"]
		other := r.send("shopPaperWrite", ada, object{"id": "q", "owner": "ada", "title": "two", "size": 1})["position"]
		r.idle()
		began := time.Now()
		for _, p := range []any{at, after} {
			r.wantCode(api.Query, "shopPaper", ada, object{"id": "p", "waitFor": []any{before, p}}, resolver.ProjectionStopped)
		}
		for _, p := range []any{before, other} {
			wantEqual(t, "what is not behind it", r.query("shopPaper", ada, object{"id": "p", "waitFor": []any{p}}) != nil, true)
		}
		wantEqual(t, "it took", time.Since(began), 0)
	})
}

func TestInvalidPositions(t *testing.T) {
	t.Parallel()
	r := start(t, resolver.Options{})
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	for _, p := range []any{
		"", "x", "!!", encode(""), encode("{}"), encode("[]"), encode(`["Shop.Paper"]`), encode(`["Shop.Paper",""]`), encode(`["Shop.Paper",7,1]`),
		encode(`["Shop.Paper","p",-1]`), encode(`["Shop.Paper","p",1.5]`), encode(`["Shop.Paper","p","1"]`), encode(`["","p",1]`), encode(`[null,"p",1]`),
		encode(`["Shop.Paper","a\u0000",1]`), encode(`["Shop.Paper","` + strings.Repeat("x", 2000) + `",1]`), 7, nil, true,
		[]any{},
	} {
		r.wantCode(api.Query, "shopPapers", ada, object{"waitFor": []any{p}}, resolver.BadInput)
	}
	at := r.send("shopPaperRead", ada, object{"id": "p"})["position"] // nothing to wait for
	many := make([]any, 21)
	for i := range many {
		many[i] = at
	}
	r.wantCode(api.Query, "shopPapers", ada, object{"waitFor": many}, resolver.BadInput)
	r.wantCode(api.Query, "shopPapers", ada, object{"waitFor": many[:20]}, "")
	r.wantCode(api.Query, "shopPapers", ada, object{"waitFor": nil}, "")
}

// A caller can compute the id of a command that an automation will send. If the caller
// could use that id, the automation's command would be ignored as a repetition.
func TestCommandIDsOfAutomationsAreReserved(t *testing.T) {
	t.Parallel()
	paper := newPaper("Paper", false)
	stamp := automation.New(automation.Spec{
		Name: "StampWritten",
		Rules: automation.Rules{automation.On(paper, func(e message.Event[event]) message.Actions {
			if _, ok := e.Data.(Written); ok {
				return message.Actions{paper.To(e.EntityID, Stamp{})}
			}
			return nil
		})},
		Sends: plugin.Components{paper},
	})
	r := startApp(t, reventless.New("test", plugin.New(plugin.Spec{Name: "Shop", Heartbeat: -1, Components: plugin.Components{paper, stamp}})),
		resolver.Options{})
	r.wake()
	r.send("shopPaperWrite", ada, object{"id": "o", "owner": "ada", "title": "t", "size": 1.0})
	r.idle()
	events := func(id string) (causes []any) {
		for _, e := range r.page("shopPaperEvents", admin, object{"id": id}).nodes {
			causes = append(causes, e["causationId"])
		}
		return causes
	}
	at, err := time.Parse(time.RFC3339Nano, r.page("shopPaperEvents", admin, object{"id": "o"}).nodes[0]["recordedAt"].(string))
	if err != nil {
		t.Fatal(err)
	}
	next := func(entity string) string {
		return ids.Derive(at, "Shop.StampWritten", core.EventID("Shop.Paper", entity, 1, 0), "0")
	}
	if causes := events("o"); len(causes) != 2 || causes[1] != next("o") {
		t.Fatalf("the paper has events of the commands %v, want one of %s", causes, next("o"))
	}
	r.wantCode(api.Mutation, "shopPaperWrite", ada, object{"id": "p", "owner": "ada", "title": "t", "size": 1.0, "commandId": next("p")}, resolver.BadInput)
	r.send("shopPaperWrite", ada, object{"id": "p", "owner": "ada", "title": "t", "size": 1.0})
	r.idle()
	if causes := events("p"); len(causes) != 2 || causes[1] != next("p") {
		t.Errorf("the paper has events of the commands %v, want one of %s", causes, next("p"))
	}
}
