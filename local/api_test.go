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
