package local_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/local"
)

// serveCells serves cells on a file until the test ends.
func serveCells(t *testing.T, opts *local.APIOptions) *httptest.Server {
	t.Helper()
	h, err := local.Open(t.Context(), cells(), filepath.Join(t.TempDir(), "cells.db"), &local.Options{Logger: silent, Backoff: atOnce})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	api, err := h.API(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(api)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := api.Close(ctx); err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return s
}

// ask posts a document as a dev user.
func ask(t *testing.T, s *httptest.Server, user, query string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+"/graphql", strings.NewReader(`{"query": "`+query+`"}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	if user != "" {
		r.Header.Set("X-User", user)
	}
	return answerOf(t, s, r)
}

func answerOf(t *testing.T, s *httptest.Server, r *http.Request) string {
	t.Helper()
	response, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAPIOnAFile(t *testing.T) {
	t.Parallel()
	s := serveCells(t, &local.APIOptions{DevUsers: true})
	const add = `mutation {testCellAdd(id: \"a\", n: 3) {... on CommandAccepted {sequenceNr}}}`
	for _, c := range []struct{ user, query, want string }{
		{"user", add, `{"data":{"testCellAdd":{"sequenceNr":1}}}`},
		{"user", `mutation {testCellSwap(id: \"a\", old: 5, new: 6) {... on CommandRejected {code detail}}}`, `{"data":{"testCellSwap":{"code":"Other","detail":"0"}}}`},
		{"admin", `{testCellEvents(id: \"a\") {edges {node {type data user}}}}`, `{"data":{"testCellEvents":{"edges":[{"node":{"type":"Added","data":"{\"N\":3}","user":"user"}}]}}}`},
	} {
		if got := ask(t, s, c.user, c.query); got != c.want {
			t.Errorf("%s\nanswered %s\nwant %s", c.query, got, c.want)
		}
	}
	if got := ask(t, s, "", add); !strings.Contains(got, `"code":"UNAUTHENTICATED"`) {
		t.Errorf("nobody is answered %s", got)
	}
	if got := ask(t, s, "user", `{testCellEvents(id: \"a\") {edges {cursor}}}`); !strings.Contains(got, `"code":"FORBIDDEN"`) {
		t.Errorf("the user is answered %s", got)
	}
}

func TestAPIShowsExamples(t *testing.T) {
	t.Parallel()
	s := serveCells(t, &local.APIOptions{Examples: []local.Example{{Title: "What <b>is</b> it", Query: "{ __typename }"}}})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	page := answerOf(t, s, r)
	for _, want := range []string{"What &lt;b&gt;is&lt;/b&gt; it", "/graphiql/?query=%7B&#43;__typename&#43;%7D", "<h1>cells</h1>"} {
		if !strings.Contains(page, want) {
			t.Errorf("%q is not in %s", want, page)
		}
	}
}

func TestAPIOptionsThatCannotBe(t *testing.T) {
	t.Parallel()
	h, err := local.Open(t.Context(), cells(), filepath.Join(t.TempDir(), "cells.db"), &local.Options{Logger: silent})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if _, err := h.API(t.Context(), &local.APIOptions{JWTSecret: []byte("short")}); err == nil {
		t.Error("a secret that can be guessed is taken")
	}
	if _, err := h.API(t.Context(), &local.APIOptions{OIDCIssuer: "http://127.0.0.1:1", Audience: "cells"}); !errors.Is(err, driver.ErrUnavailable) {
		t.Errorf("an issuer that does not answer: %v", err)
	}
	if _, err := h.API(t.Context(), nil); err != nil {
		t.Errorf("without options: %v", err)
	}
}
