package main_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/reventless-go/reventless/internal/testenv"
)

// newBrowser starts a headless browser with an empty profile.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	testenv.Needs(t, "chromium")
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(
		ctx,
		chromedp.ExecPath(chromium), chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU, chromedp.NoFirstRun, chromedp.NoDefaultBrowserCheck,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WindowSize(1400, 900), chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(patience),
	)
	t.Cleanup(cancel)
	return ctx
}

// tab is a page of the browser with its unexpected events.
type tab struct {
	t    *testing.T
	ctx  context.Context
	name string

	mu         sync.Mutex
	complaints []string
	requests   int
}

// newTab opens a tab in the browser of ctx. The tab may send requests only to host.
func newTab(ctx context.Context, t *testing.T, name, host string) *tab {
	t.Helper()
	b := &tab{t: t, name: name}
	ctx, cancel := chromedp.NewContext(ctx, chromedp.WithListener(func(event any) {
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			b.requested(e.Request.URL, host)
		case *network.EventWebSocketCreated:
			b.requested(e.URL, host)
		case *runtime.EventConsoleAPICalled:
			if slices.Contains([]string{"error", "assert", "warning"}, string(e.Type)) {
				var texts []string
				for _, a := range e.Args {
					texts = append(texts, string(a.Value)+a.Description)
				}
				b.complain("console: %s: %s", e.Type, strings.Join(texts, " "))
			}
		case *runtime.EventExceptionThrown:
			b.complain("exception: %v", e.ExceptionDetails)
		case *log.EventEntryAdded: //nolint:forbidigo // the browser's log, which has violations of the content security policy
			text, _ := json.Marshal(e) // it came as JSON
			b.complain("%s", text)
		}
	}))
	t.Cleanup(cancel)
	b.ctx = ctx
	// The first action creates the tab, which exists as long as its context.
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b
}

func (b *tab) requested(address, host string) {
	u, err := url.Parse(address)
	b.mu.Lock()
	b.requests++
	b.mu.Unlock()
	if err != nil || u.Host != host && !slices.Contains([]string{"data", "blob", "about"}, u.Scheme) {
		b.complain("request to %s", address)
	}
}

func (b *tab) complain(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = append(b.complaints, fmt.Sprintf(format, args...))
}

func (b *tab) do(what string, steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	_ = evaluate(b, what, chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error { return chromedp.Do(ctx, steps...) }))
}

// evaluate runs an action that has a result.
func evaluate[T any](b *tab, what string, action chromedp.Action[T]) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	v, err := chromedp.Run(ctx, action)
	if err != nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.t.Fatalf("%s: %s: %v\n%s", b.name, what, err, strings.Join(b.complaints, "\n"))
	}
	return v
}

// example follows the link of an example on the first page into GraphiQL and
// executes it.
func (b *tab) example(first, title string) {
	b.t.Helper()
	b.do("first page", chromedp.Navigate(first))
	links := evaluate(b, "examples", chromedp.Evaluate[[]string](`[...document.querySelectorAll("h3")].map(h => h.textContent)`))
	i := slices.Index(links, title)
	if i < 0 {
		b.t.Fatalf("%s: the first page has the examples %q, and not %q", b.name, links, title)
	}
	const execute = chromedp.CSS("button.graphiql-execute-button")
	b.do("open "+title, chromedp.Click(chromedp.JSPath(fmt.Sprintf(`document.querySelectorAll("a.try")[%d]`, i))), chromedp.WaitVisible(execute))
	b.do("execute "+title, chromedp.Click(execute))
}

// result returns the text of the result pane.
func (b *tab) result() string {
	b.t.Helper()
	const pane = `(document.querySelector(".graphiql-response")?.innerText ?? "").replaceAll("\u00a0", " ")`
	return evaluate(b, "read the result", chromedp.Evaluate[string](pane))
}

// showing reports whether the result pane shows all words.
func (b *tab) showing(words ...string) bool {
	b.t.Helper()
	text := b.result()
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}

// shows waits until the result pane shows all words.
func (b *tab) shows(words ...string) {
	b.t.Helper()
	for deadline := time.Now().Add(patience / 2); !b.showing(words...); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("%s: the result pane shows %q, want %q", b.name, b.result(), words)
		}
	}
}

// end closes the tab and reports its unexpected events.
func (b *tab) end() {
	b.t.Helper()
	if err := chromedp.Cancel(b.ctx); err != nil && !errors.Is(err, context.Canceled) {
		b.t.Errorf("%s: close: %v", b.name, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, c := range b.complaints {
		b.t.Errorf("%s: %s", b.name, c)
	}
	if b.requests < 3 {
		b.t.Errorf("%s: the listener saw only %d requests", b.name, b.requests)
	}
}

// The first page leads to GraphiQL, where its examples run: a query, a mutation,
// and a subscription that shows the effect of the mutation.
func TestExamplesInABrowser(t *testing.T) {
	t.Parallel()
	ctx := newBrowser(t)
	s := seededShop(t)
	all := s.products()
	dearest := slices.MaxFunc(all, func(a, b productRow) int { return int(a.Price - b.Price) })
	served := s.serve()
	host := strings.TrimSuffix(strings.TrimPrefix(served.url, "http://"), "/")

	first := newTab(ctx, t, "first tab", host)
	first.example(served.url, "The dearest products")
	first.shows(`"catalogProducts"`, dearest.Name)

	second := newTab(first.ctx, t, "second tab", host)
	second.example(served.url, "Every price, as it changes")
	// Nothing reports when the subscription is open, so the test changes a price until
	// the pane shows a change.
	u := served.urql(admin, false)
	var position string
	for price := 1; !second.showing(`"catalogProductChanged"`, `"10002"`); price++ {
		position = u.accepted(fmt.Sprintf(`catalogProductChangePrice(id: "10002", price: %d)`, price)).Position
	}
	// The last of these changes must not follow the change below.
	u.do(&struct{}{}, `query ($at: [String!]) { catalogProduct(id: "10002", waitFor: $at) { price } }`, map[string]any{"at": []string{position}})

	first.example(served.url, "A price is changed")
	first.shows(`"catalogProductChangePrice"`, `"eventCount": 1`, `"position"`)
	second.shows(`"kind": "UPDATED"`, `"id": "22752"`, `"price": 799`)

	second.end()

	first.end()
	served.stop()
}
