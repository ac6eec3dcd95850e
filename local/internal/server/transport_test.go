package server_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/reventless-go/reventless/local/internal/server"
)

const boltData = `{"group": "metal", "count": 7, "tags": ["a", "b"], "box": {"label": "outer", "inner": {"label": "inner"}}}`

func TestQueriesByPostAndGet(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	s.put("bolt", boltData)
	s.put("nut", `{"group": "metal", "count": 2, "tags": []}`)
	for _, m := range []option{method(http.MethodPost), method(http.MethodGet)} {
		s.answers(`{depotItem(id: "bolt") {id group count color tags}}`,
			`{"depotItem": {"id": "bolt", "group": "metal", "count": 7, "color": null, "tags": ["a", "b"]}}`, m)
		s.answers(`query A($id: ID!) {depotItem(id: $id) {count}} query B {depotItem(id: "nut") {count}}`,
			`{"depotItem": {"count": 7}}`, m, named("A"), vars(`{"id": "bolt"}`))
		s.answers(`query A {depotItem(id: "bolt") {count}} query B {depotItem(id: "nut") {count}}`,
			`{"depotItem": {"count": 2}}`, m, named("B"))
		s.answers(`{a: depotItem(id: "bolt") {b: box {c: inner {label}}} depotItem(id: "none") {id}}`,
			`{"a": {"b": {"c": {"label": "inner"}}}, "depotItem": null}`, m)
		s.answers(`query($no: Boolean = false) {
			__typename
			q: depotItem(id: "bolt") {__typename ...F ... on DepotItem {tags @include(if: false)} count @skip(if: true) color @include(if: $no)}
			depotItem(id: "bolt") @skip(if: true) {id}
		} fragment F on DepotItem {box {...B}} fragment B on DepotBox {label __typename}`,
			`{"__typename": "Query", "q": {"__typename": "DepotItem", "box": {"label": "outer", "__typename": "DepotBox"}}}`, m)
		s.answers(`{depotItemsByByGroup(group: "metal", first: 1) {edges {node {id}} pageInfo {hasNextPage hasPreviousPage}}}`,
			`{"depotItemsByByGroup": {"edges": [{"node": {"id": "bolt"}}], "pageInfo": {"hasNextPage": true, "hasPreviousPage": false}}}`, m)
		s.answers(`query($f: DepotItemFilter) {depotItems(filter: $f, orderBy: {field: count, direction: DESC}) {edges {node {id}}}}`,
			`{"depotItems": {"edges": [{"node": {"id": "bolt"}}, {"node": {"id": "nut"}}]}}`, m, vars(`{"f": {"count": {"less": 10}}}`))
		// The selections of a field that occurs twice are merged.
		s.answers(`{depotItem(id: "bolt") {box {label}} ... {depotItem(id: "bolt") {box {inner {label}}}}}`,
			`{"depotItem": {"box": {"label": "outer", "inner": {"label": "inner"}}}}`, m)
		// @defer is accepted; the whole answer comes at once.
		s.answers(`{depotItem(id: "bolt") {id ... @defer {count}}}`, `{"depotItem": {"id": "bolt", "count": 7}}`, m)
	}
}

func TestMutationsAnswerUnions(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	put := `mutation {depotItemPut(id: "a", group: "g", count: 1, tags: ["t"], box: {label: "l", inner: {label: "m"}}) {
		__typename ... on CommandAccepted {entityId sequenceNr eventCount position} ... on CommandRejected {code}}}`
	r := s.do(put)
	var put1 struct {
		DepotItemPut struct {
			Typename   string `json:"__typename"`
			EntityID   string
			SequenceNr int
			Position   string
		}
	}
	if err := json.Unmarshal(r.Data, &put1); err != nil || put1.DepotItemPut.Typename != "CommandAccepted" || put1.DepotItemPut.SequenceNr != 1 {
		t.Fatalf("answered %s, error %v", r.text, err)
	}
	s.answers(`query($at: [String!]) {depotItem(id: "a", waitFor: $at) {count tags box {inner {label}}}}`,
		`{"depotItem": {"count": 1, "tags": ["t"], "box": {"inner": {"label": "m"}}}}`, vars(`{"at": ["`+put1.DepotItemPut.Position+`"]}`))
	s.answers(`mutation {depotItemPaint(id: "b", color: "red") {__typename ... on CommandRejected {code} ... on CommandAccepted {position}}}`,
		`{"depotItemPaint": {"__typename": "CommandRejected", "code": "NotThere"}}`, as("user"))
	// A single value is accepted for a list, also in a variable.
	s.answers(`mutation($tags: [String!]!) {depotItemPut(id: "one", group: "g", count: 1, tags: $tags) {__typename}}`,
		`{"depotItemPut": {"__typename": "CommandAccepted"}}`, vars(`{"tags": "t"}`))
	// A fragment on the union itself, and two mutations in order.
	s.answers(`mutation {a: depotItemPut(id: "c", group: "g", count: 1, tags: []) {...R} b: depotItemPaint(id: "c", color: "red") {...R}}
		fragment R on CommandResult {... on CommandAccepted {sequenceNr}}`,
		`{"a": {"sequenceNr": 1}, "b": {"sequenceNr": 2}}`, as("user"))
	s.answers(`mutation {depotJobBegin(id: "j", hours: 3, commandId: "begin") {... on CommandPending {commandId}}}`,
		`{"depotJobBegin": {"commandId": "begin"}}`, as("user"))
	s.idle()
	s.answers(`{commandOutcome(commandId: "begin", target: "Depot.Job") {__typename}}`, `{"commandOutcome": {"__typename": "CommandAccepted"}}`, as("user"))
	s.answers(`{commandOutcome(commandId: "begin", target: "Depot.Job") {__typename}}`, `{"commandOutcome": null}`)
	s.send("Parcel", "Post", "p", `{"owner": "user", "lines": [{"place": "1", "text": "x"}, {"place": "2", "text": "y"}]}`)
	s.answers(`{depotLine(id: "p", place: "2") {text} depotLineItems(id: "p", place: {greater: "1"}) {edges {node {text}}}}`,
		`{"depotLine": {"text": "y"}, "depotLineItems": {"edges": [{"node": {"text": "y"}}]}}`, as("user"))
}

func TestGetIsOnlyForQueries(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	get := method(http.MethodGet)
	const unprocessable = http.StatusUnprocessableEntity
	s.refuses(`mutation {depotItemPut(id: "a", group: "g", count: 1, tags: []) {__typename}}`, unprocessable, "BAD_USER_INPUT", get)
	s.refuses(`subscription {depotItemChanged {id}}`, unprocessable, "BAD_USER_INPUT", get)
	s.refuses(`subscription {depotItemChanged {id}}`, http.StatusBadRequest, "BAD_USER_INPUT", get, with("Accept", "text/event-stream"))
	s.refuses(`{depotItem(id: "a") {id}}`, http.StatusBadRequest, "BAD_USER_INPUT", get, vars(`{`))
	s.refuses(``, unprocessable, "GRAPHQL_VALIDATION_FAILED", get)
	s.answers(`{depotItem(id: "a") {id}}`, `{"depotItem": null}`, get)
}

func TestAnswersHaveTheTypeThatWasAskedFor(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	const plain, response = "application/json", "application/graphql-response+json"
	for _, c := range []struct{ accept, want string }{
		{"", plain},
		{"*/*", plain},
		{plain, plain},
		{response, response},
		{response + ", " + plain, response},
		{plain + ";q=0.9, " + response, plain},
		// What urql sends.
		{"application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed", response},
	} {
		for _, m := range []string{http.MethodPost, http.MethodGet} {
			r := s.do(`{depotItem(id: "a") {id}}`, with("Accept", c.accept), method(m))
			if got := r.header.Get("Content-Type"); r.status != http.StatusOK || got != c.want || !same(string(r.Data), `{"depotItem": null}`) {
				t.Errorf("%s with Accept %q: %d %s %s, want %s", m, c.accept, r.status, got, r.text, c.want)
			}
		}
	}
	// A request that is refused before execution has a status of 4xx.
	s.refuses(`{nothing}`, http.StatusUnprocessableEntity, "GRAPHQL_VALIDATION_FAILED", with("Accept", plain))
	s.refuses(`{nothing}`, http.StatusBadRequest, "GRAPHQL_VALIDATION_FAILED", with("Accept", response))
	s.refuses(`{`, http.StatusBadRequest, "GRAPHQL_PARSE_FAILED", with("Accept", response))
}

// A cache must not return the response for one caller to another.
func TestAnswersAreNotKeptByCaches(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	for _, opts := range [][]option{{method(http.MethodGet)}, {method(http.MethodPost)}, {method(http.MethodGet), as("root")}, {method(http.MethodPut)}} {
		if r := s.do(`{depotParcels {edges {node {id}}}}`, opts...); r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("answer %d %s has the header Cache-Control: %q", r.status, short(r.text), r.header.Get("Cache-Control"))
		}
	}
}

func TestInvalidRequests(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	const bad, query = "BAD_USER_INPUT", `{depotItem(id: "a") {id}}`
	s.refuses("", http.StatusBadRequest, bad, body(`{"query": `))
	s.refuses("", http.StatusBadRequest, bad, body(`{"query": 5}`))
	s.refuses("", http.StatusBadRequest, bad, body(`[]`))
	s.refuses("", http.StatusBadRequest, bad, body(``))
	s.refuses("", http.StatusBadRequest, bad, body(`{"query": 5}`), with("Accept", "text/event-stream"))
	s.refuses(query, http.StatusUnsupportedMediaType, bad, with("Content-Type", "text/plain"))
	s.refuses(query, http.StatusUnsupportedMediaType, bad, with("Content-Type", "application/x-www-form-urlencoded"))
	s.answers(query, `{"depotItem": null}`, with("Content-Type", "application/json; charset=utf-8"))
	s.refuses(`query A {__typename} query B {__typename}`, http.StatusUnprocessableEntity, "GRAPHQL_VALIDATION_FAILED")
	s.refuses(`query A {__typename}`, http.StatusUnprocessableEntity, "GRAPHQL_VALIDATION_FAILED", named("C"))
	s.refuses(`query($id: ID!) {depotItem(id: $id) {id}}`, http.StatusUnprocessableEntity, "GRAPHQL_VALIDATION_FAILED")
	for _, m := range []string{http.MethodPut, http.MethodDelete, http.MethodHead, http.MethodOptions, http.MethodPatch} {
		if r := s.do("", method(m)); r.status != http.StatusMethodNotAllowed || r.header.Get("Allow") != "GET, POST" {
			t.Errorf("%s /graphql answered %d, Allow %q", m, r.status, r.header.Get("Allow"))
		}
	}
	// A request to upgrade to HTTP/2 is answered with HTTP/1.1.
	s.answers(query, `{"depotItem": null}`, with("Upgrade", "h2c"), with("Connection", "Upgrade"))
	if strings.Contains(s.log.String(), "query") {
		t.Errorf("payloads in the log: %s", s.log)
	}
}

// The answer reports a mutation that took effect, also when a later mutation of the
// document is refused.
func TestRefusedMutationDoesNotHideTheOneBeforeIt(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	r := s.refuses(`mutation {a: depotItemPut(id: "a", group: "g", count: 1, tags: []) {__typename} b: depotItemPaint(id: "a", color: "red") {__typename}}`, http.StatusOK, "UNAUTHENTICATED")
	if !same(string(r.Data), `{"a": {"__typename": "CommandAccepted"}, "b": null}`) {
		t.Errorf("answered %s", r.text)
	}
}

func TestErrorsHaveAPath(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	s.put("bolt", boltData)
	s.put("many", `{"group": "huge", "count": 9007199254740993, "tags": []}`)
	r := s.refuses(`{a: depotItem(id: "bolt") {id} b: depotItem(id: "many") {id count} c: depotLine(id: "x", place: "y") {text}}`, http.StatusOK, "INTERNAL")
	if !same(string(r.Data), `{"a": {"id": "bolt"}, "b": null, "c": null}`) || len(r.Errors) != 2 {
		t.Fatalf("partial data is %s", r.text)
	}
	if got := r.Errors[0].Path; len(got) != 2 || got[0] != "b" || got[1] != "count" {
		t.Errorf("the path is %v", got)
	}
	if got := r.Errors[1]; got.Extensions["code"] != "UNAUTHENTICATED" || len(got.Path) != 1 || got.Path[0] != "c" {
		t.Errorf("the second error is %v", got)
	}
	// An invalid row makes its list null, and nothing else.
	r = s.refuses(`{a: depotItem(id: "bolt") {id} depotItemsByByGroup(group: "huge") {edges {node {count}}}}`, http.StatusOK, "INTERNAL")
	if !same(string(r.Data), `{"a": {"id": "bolt"}, "depotItemsByByGroup": null}`) {
		t.Errorf("data is %s", r.Data)
	}
	if got, want := r.Errors[0].Path, `["depotItemsByByGroup","edges",0,"node","count"]`; !same(mustJSON(got), want) {
		t.Errorf("the path is %v, want %s", got, want)
	}
	// Errors in the document itself have locations.
	for query, code := range map[string]string{"{nothing}": "GRAPHQL_VALIDATION_FAILED", "{a b": "GRAPHQL_PARSE_FAILED"} {
		r = s.refuses(query, http.StatusUnprocessableEntity, code)
		if len(r.Errors[0].Locations) == 0 {
			t.Errorf("%s has no location: %s", query, r.text)
		}
	}
	for _, query := range []string{`{depotItems(first: -1) {edges {cursor}}}`, `{depotItems(first: 1, last: 1) {edges {cursor}}}`, `{depotItems(first: 2, after: "nonsense") {edges {cursor}}}`} {
		if r = s.refuses(query, http.StatusOK, "BAD_USER_INPUT"); len(r.Errors[0].Path) != 1 {
			t.Errorf("%s has no path: %s", query, r.text)
		}
	}
}

func mustJSON(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

func TestIntrospection(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{})
	// All fields of introspection.
	const all = `query IntrospectionQuery {__schema {
		__typename description queryType {name} mutationType {name} subscriptionType {name} types {...FullType}
		directives {name description isRepeatable locations args(includeDeprecated: true) {...InputValue}}}}
	fragment FullType on __Type {
		__typename kind name description specifiedByURL isOneOf
		fields(includeDeprecated: true) {name description args(includeDeprecated: true) {...InputValue} type {...TypeRef} isDeprecated deprecationReason}
		inputFields(includeDeprecated: true) {...InputValue} interfaces {...TypeRef}
		enumValues(includeDeprecated: true) {name description isDeprecated deprecationReason} possibleTypes {...TypeRef}}
	fragment InputValue on __InputValue {name description type {...TypeRef} defaultValue isDeprecated deprecationReason}
	fragment TypeRef on __Type {kind name ofType {kind name ofType {kind name ofType {kind name ofType {kind name}}}}}`
	r := s.do(all)
	if r.status != http.StatusOK || len(r.Errors) > 0 {
		t.Fatalf("answered %d %s", r.status, short(r.text))
	}
	for _, want := range []string{`"DepotItem"`, `"CommandResult"`, `"AWSJSON"`, `"depotItemChanged"`, `"NON_NULL"`, `"UNION"`} {
		if !strings.Contains(r.text, want) {
			t.Errorf("%s is missing", want)
		}
	}
	s.answers(`query($name: String!) {__type(name: $name) {...T} none: __type(name: "None") {name} __schema {queryType {n: name}}}
		fragment T on __Type {name kind possibleTypes {name}}`,
		`{"__type": {"name": "CommandResult", "kind": "UNION", "possibleTypes": [{"name": "CommandAccepted"}, {"name": "CommandRejected"}, {"name": "CommandPending"}, {"name": "CommandFailed"}]},
		"none": null, "__schema": {"queryType": {"n": "Query"}}}`, vars(`{"name": "CommandResult"}`))
	s.answers(`{__type(name: "PageInfo") {fields {name type {kind ofType {name}}}}}`,
		`{"__type": {"fields": [{"name": "hasNextPage", "type": {"kind": "NON_NULL", "ofType": {"name": "Boolean"}}}, {"name": "hasPreviousPage", "type": {"kind": "NON_NULL", "ofType": {"name": "Boolean"}}},
		{"name": "startCursor", "type": {"kind": "SCALAR", "ofType": null}}, {"name": "endCursor", "type": {"kind": "SCALAR", "ofType": null}}]}}`)
	s.refuses(`{__schema {types {fields {type {fields {type {fields {name}}}}}}}}`, http.StatusUnprocessableEntity, "GRAPHQL_VALIDATION_FAILED")
}

func TestOtherPages(t *testing.T) {
	t.Parallel()
	s := serve(t, server.Options{Examples: []server.Example{{Title: "What <b>is</b> it", Query: "{ __typename }"}}})
	for _, c := range []struct {
		method, path string
		status       int
		contentType  string
		has          string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8", "<h1>depot</h1>"},
		{"GET", "/", 200, "text/html; charset=utf-8", "What &lt;b&gt;is&lt;/b&gt; it"},
		{"GET", "/", 200, "text/html; charset=utf-8", "query=%7B&#43;__typename&#43;%7D"},
		{"HEAD", "/", 200, "text/html; charset=utf-8", ""},
		{"GET", "/sdl", 200, "text/plain; charset=utf-8", "type Query {"},
		{"GET", "/healthz", 200, "application/json", `{"app":"depot","status":"ok"}`},
		{"GET", "/graphiql/", 200, "text/html; charset=utf-8", "GraphiQL"},
		{"GET", "/nothing", 404, "", ""},
		{"GET", "/graphql/x", 404, "", ""},
		{"GET", "/graphiql/nothing.js", 404, "", ""},
		{"POST", "/", 405, "", ""},
		{"POST", "/sdl", 405, "", ""},
		{"DELETE", "/healthz", 405, "", ""},
		{"POST", "/graphiql/", 405, "", ""},
	} {
		r := s.do("", method(c.method), at(c.path))
		if r.status != c.status || c.contentType != "" && r.header.Get("Content-Type") != c.contentType || !strings.Contains(r.text, c.has) {
			t.Errorf("%s %s: %d %s %s", c.method, c.path, r.status, r.header.Get("Content-Type"), short(r.text))
		}
		if r.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s has no nosniff header", c.method, c.path)
		}
		if policy := r.header.Get("Content-Security-Policy"); strings.HasPrefix(c.contentType, "text/html") && (!strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "frame-ancestors 'none'")) {
			t.Errorf("%s %s has the policy %q", c.method, c.path, policy)
		}
	}
}
