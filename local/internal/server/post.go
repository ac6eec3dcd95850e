package server

import (
	"bytes"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
)

// post replaces gqlgen's transport for POST, for requests that are already decoded. It
// gives the same responses with less work, because the overhead of a request is a large
// part of its total cost.
type post struct{}

var _ graphql.Transport = post{}

// Supports implements [graphql.Transport].
func (post) Supports(r *http.Request) bool { return requestOf(r.Context()).params != nil }

// Do implements [graphql.Transport].
func (post) Do(w http.ResponseWriter, r *http.Request, exec graphql.GraphExecutor) {
	ctx := r.Context()
	params := requestOf(ctx).params
	contentType := responseType(r.Header.Get("Accept"))
	w.Header().Set("Content-Type", contentType)
	params.Headers = r.Header
	op, errs := exec.CreateOperationContext(ctx, params)
	if errs != nil {
		if errcode.GetErrorKind(errs) == errcode.KindProtocol {
			status := http.StatusUnprocessableEntity
			if contentType == typeResponse {
				status = http.StatusBadRequest
			}
			w.WriteHeader(status)
		}
		writeResponse(w, exec.DispatchError(graphql.WithOperationContext(ctx, op), errs))
		return
	}
	responses, ctx := exec.DispatchOperation(ctx, op)
	writeResponse(w, responses(ctx))
}

const (
	typeJSON     = "application/json"
	typeResponse = "application/graphql-response+json"
)

// responseType chooses a content type that the caller accepts.
func responseType(accept string) string {
	switch accept {
	case "", "*/*", typeJSON: // the usual values
		return typeJSON
	}
	for part := range strings.SplitSeq(accept, ",") {
		switch t, _, err := mime.ParseMediaType(strings.TrimSpace(part)); {
		case err != nil:
		case t == "*/*" || t == "application/*" || t == typeJSON:
			return typeJSON
		case t == typeResponse:
			return typeResponse
		}
	}
	return typeResponse
}

// isJSON reports whether a content type is JSON.
func isJSON(contentType string) bool {
	t, _, err := mime.ParseMediaType(contentType)
	return err == nil && t == typeJSON
}

// writeResponse writes a response. The executor has produced Data, so it is not
// validated again.
func writeResponse(w io.Writer, r *graphql.Response) {
	if r == nil || len(r.Data) == 0 || len(r.Errors) > 0 || len(r.Extensions) > 0 {
		text, err := json.Marshal(r)
		if err != nil {
			panic(err) // recovered and logged
		}
		_, _ = w.Write(text) // an error means that the caller has disconnected
		return
	}
	out := make([]byte, 0, len(r.Data)+len(`{"data":}`))
	out = append(append(append(out, `{"data":`...), r.Data...), '}')
	_, _ = w.Write(out)
}

// bodies are the buffers for the bodies of requests.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

// maxPooled is the maximum size of a buffer that is reused.
const maxPooled = 64 << 10

func freeBody(b *bytes.Buffer) {
	if b.Cap() <= maxPooled {
		b.Reset()
		bodies.Put(b)
	}
}
