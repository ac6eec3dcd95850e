package graphiql_test

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/local/graphiql"
)

// request sends a request to the handler, mounted as a server mounts it.
func request(t *testing.T, method, target string, header http.Header) *http.Response {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(graphiql.Prefix, graphiql.Handler())
	r := httptest.NewRequestWithContext(t.Context(), method, target, http.NoBody)
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	return w.Result()
}

func body(t *testing.T, res *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestEveryFileIsServedWithItsTypeAndLocked(t *testing.T) {
	t.Parallel()
	want := map[string]string{
		"":             "text/html; charset=utf-8",
		"index.html":   "text/html; charset=utf-8",
		"graphiql.js":  "text/javascript; charset=utf-8",
		"graphiql.css": "text/css; charset=utf-8",
		"licenses.txt": "text/plain; charset=utf-8",
	}
	entries, err := os.ReadDir("dist")
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, e := range entries {
		if want[e.Name()] == "" {
			t.Errorf("dist has the file %s, which this test knows nothing of", e.Name())
		}
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		total += int(info.Size())
	}
	if total > 2_500_000 {
		t.Errorf("dist has %d bytes; it is part of every program, so its size is looked at", total)
	}
	for name, contentType := range want {
		res := request(t, http.MethodGet, graphiql.Prefix+name, nil)
		if res.StatusCode != http.StatusOK || res.Header.Get("Content-Type") != contentType {
			t.Errorf("%q: got %s, %q, want %q", name, res.Status, res.Header.Get("Content-Type"), contentType)
		}
		if name == "" {
			name = "index.html"
		}
		content, err := os.ReadFile("dist/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if body(t, res) != string(content) {
			t.Errorf("%q: got a body that differs from the file in dist", name)
		}
		policy := strings.Split(res.Header.Get("Content-Security-Policy"), "; ")
		for _, directive := range []string{"default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"} {
			if !slices.Contains(policy, directive) {
				t.Errorf("%q: the policy %q lacks %q", name, policy, directive)
			}
		}
		for header, value := range map[string]string{
			"X-Content-Type-Options": "nosniff",
			"Referrer-Policy":        "no-referrer",
			"Cache-Control":          "no-cache",
		} {
			if got := res.Header.Get(header); got != value {
				t.Errorf("%q: %s: got %q, want %q", name, header, got, value)
			}
		}
	}
}

func TestAFileThatABrowserHasIsNotSentAgain(t *testing.T) {
	t.Parallel()
	etag := request(t, http.MethodGet, graphiql.Prefix+"graphiql.js", nil).Header.Get("ETag")
	if etag == "" {
		t.Fatal("got no ETag")
	}
	if other := request(t, http.MethodGet, graphiql.Prefix+"graphiql.css", nil).Header.Get("ETag"); other == etag {
		t.Errorf("two files have the ETag %s", etag)
	}
	res := request(t, http.MethodGet, graphiql.Prefix+"graphiql.js", http.Header{"If-None-Match": {etag}})
	if res.StatusCode != http.StatusNotModified || body(t, res) != "" {
		t.Errorf("got %s, want 304 and nothing else", res.Status)
	}
}

func TestNothingElseIsServed(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		method, target string
		status         int
	}{
		{http.MethodGet, graphiql.Prefix + "main.jsx", http.StatusNotFound},
		{http.MethodGet, graphiql.Prefix + "dist/index.html", http.StatusNotFound},
		{http.MethodGet, graphiql.Prefix + "index.html/", http.StatusNotFound},
		{http.MethodGet, graphiql.Prefix + "%2e%2e/graphiql.go", http.StatusNotFound},
		{http.MethodPost, graphiql.Prefix, http.StatusMethodNotAllowed},
		{http.MethodHead, graphiql.Prefix, http.StatusOK},
	} {
		if res := request(t, row.method, row.target, nil); res.StatusCode != row.status {
			t.Errorf("%s %s: got %s, want %d", row.method, row.target, res.Status, row.status)
		}
	}
}

func TestThePageLoadsItsOwnFilesOnly(t *testing.T) {
	t.Parallel()
	page := body(t, request(t, http.MethodGet, graphiql.Prefix, nil))
	if !strings.Contains(page, "<title>GraphiQL</title>") {
		t.Errorf("got a page of another title: %s", page)
	}
	loaded := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page, -1)
	if len(loaded) < 2 {
		t.Fatalf("got a page that loads %q, want a script and a style sheet", loaded)
	}
	for _, m := range loaded {
		if strings.HasPrefix(m[1], "data:") {
			continue
		}
		if res := request(t, http.MethodGet, graphiql.Prefix+m[1], nil); res.StatusCode != http.StatusOK {
			t.Errorf("the page loads %q, which gets %s", m[1], res.Status)
		}
	}
	if strings.Contains(page, "//") {
		t.Errorf("the page names a place elsewhere: %s", page)
	}
	style := body(t, request(t, http.MethodGet, graphiql.Prefix+"graphiql.css", nil))
	if m := regexp.MustCompile(`@import|url\("?[^d"][^a][^)]{0,40}`).FindString(style); m != "" {
		t.Errorf("the style sheet loads %q", m)
	}
}
