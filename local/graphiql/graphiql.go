// Package graphiql serves GraphiQL, a page to explore the GraphQL API of its server. The
// page embeds the published library and is built by "make graphiql" from the folder page;
// it loads nothing from other servers.
//
// The page sends queries and mutations to /graphql by POST and subscribes to the same URL
// by WebSocket (graphql-transport-ws), with the headers of its headers editor in
// connection_init. The parameters query, variables, headers and operationName of the
// page's URL are the initial content of its editors.
package graphiql

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"strings"
	"time"
)

// Prefix is the path below which a [Handler] serves.
const Prefix = "/graphiql/"

//go:embed dist
var dist embed.FS

// securityPolicy allows the page to run its own script and to connect to its own server.
// Dialogs and menus create style elements, and the style sheet contains small images.
const securityPolicy = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; " +
	"img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// types are the content types by file name extension. Those of package mime depend on the
// machine.
var types = map[string]string{
	".html": "text/html; charset=utf-8",
	".js":   "text/javascript; charset=utf-8",
	".css":  "text/css; charset=utf-8",
	".txt":  "text/plain; charset=utf-8",
}

type file struct {
	name, contentType, etag string
	content                 []byte
}

// Handler serves the page and its files below [Prefix] to GET and HEAD. Browsers cache the
// files but revalidate them on each use, so a new version of the server takes effect
// immediately.
func Handler() http.Handler {
	files := load()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, below := strings.CutPrefix(r.URL.Path, Prefix)
		if name == "" {
			name = "index.html"
		}
		f, found := files[name]
		if !below || !found {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, http.StatusText(http.StatusMethodNotAllowed), http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("Content-Type", f.contentType)
		h.Set("Content-Security-Policy", securityPolicy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer") // the URL may contain credentials, in the parameter headers
		h.Set("Cache-Control", "no-cache")
		h.Set("ETag", f.etag)
		http.ServeContent(w, r, f.name, time.Time{}, bytes.NewReader(f.content))
	})
}

// load returns the files by name. Reading them cannot fail: they are embedded in the
// program.
func load() map[string]file {
	entries, err := fs.ReadDir(dist, "dist")
	if err != nil {
		panic(err)
	}
	files := make(map[string]file, len(entries))
	for _, e := range entries {
		content, err := fs.ReadFile(dist, "dist/"+e.Name())
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(content)
		files[e.Name()] = file{
			name:        e.Name(),
			contentType: types[e.Name()[strings.LastIndexByte(e.Name(), '.'):]],
			etag:        `"` + hex.EncodeToString(sum[:16]) + `"`,
			content:     content,
		}
	}
	return files
}
