package server

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestPingBehindTheEndOfARequestIsHarmless(t *testing.T) {
	t.Parallel()
	ping := make(chan func(), 1)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p := &timedResponse{ResponseWriter: w, timeout: maxWriteTimeout}
		defer p.end()
		_, _ = p.Write([]byte("the answer"))
		p.Flush()
		ping <- func() {
			_, _ = p.Write(make([]byte, 1<<20))
			p.Flush()
		}
	}))
	r, err := s.Client().Get(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Body.Close()
	s.Close() // waits for the end of the request
	(<-ping)()
}
