package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"
)

// decodeParams decodes the body of a request; it returns false if the body is not a
// request. Numbers keep their notation.
func decodeParams(body []byte) (*graphql.RawParams, bool) {
	if json.Valid(body) && utf8.Valid(body) {
		if p := plainParams(body); p != nil {
			return p, true
		}
	}
	params := new(graphql.RawParams)
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if d.Decode(params) != nil {
		return nil, false
	}
	_, err := d.Token()
	return params, errors.Is(err, io.EOF)
}

// plainParams decodes valid JSON in the form that clients usually send: each member has
// its exact name and type and occurs once. For other forms it returns nil, and package
// json decodes them. The reflection of package json would cost more than a query by id
// costs in the resolver.
func plainParams(body []byte) *graphql.RawParams {
	s := scanner{data: body}
	if s.next() != '{' {
		return nil
	}
	p := new(graphql.RawParams)
	seen := 0
	for s.more('}') {
		name, kind := s.name(), s.next()
		member, of := 0, byte('"')
		switch name {
		case "query":
			member = 1
		case "operationName":
			member = 2
		case "variables":
			member, of = 4, '{'
		case "extensions":
			member, of = 8, '{'
		}
		if member == 0 || seen&member != 0 || kind != of {
			return nil
		}
		seen |= member
		switch member {
		case 1:
			p.Query = s.text()
		case 2:
			p.OperationName = s.text()
		case 4:
			p.Variables = s.object()
		case 8:
			p.Extensions = s.object()
		}
	}
	return p
}

// scanner reads valid JSON, so it only searches for the ends of values.
type scanner struct {
	data []byte
	at   int
}

// next skips white space and returns the first byte of the next token without consuming
// it.
func (s *scanner) next() byte {
	for s.data[s.at] <= ' ' {
		s.at++
	}
	return s.data[s.at]
}

// more advances to the next element of a list or object and returns false at its closing
// bracket. Before the first call the scanner is at the opening bracket.
func (s *scanner) more(closing byte) bool {
	c := s.next()
	s.at++
	if c == closing {
		return false
	}
	if s.next() == closing { // empty
		s.at++
		return false
	}
	return true
}

// name reads the name of a member and the colon.
func (s *scanner) name() string {
	s.next()
	name := s.text()
	s.next()
	s.at++
	return name
}

// text reads a string.
func (s *scanner) text() string {
	start := s.at
	plain := true
	for s.at++; s.data[s.at] != '"'; s.at++ {
		if s.data[s.at] == '\\' {
			plain = false
			s.at++
		}
	}
	s.at++
	if plain {
		return string(s.data[start+1 : s.at-1])
	}
	var text string
	_ = json.Unmarshal(s.data[start:s.at], &text) // valid JSON
	return text
}

func (s *scanner) object() map[string]any {
	out := map[string]any{}
	for s.more('}') {
		name := s.name()
		out[name] = s.value()
	}
	return out
}

func (s *scanner) value() any {
	switch s.next() {
	case '{':
		return s.object()
	case '[':
		out := []any{}
		for s.more(']') {
			out = append(out, s.value())
		}
		return out
	case '"':
		return s.text()
	case 't':
		s.at += len("true")
		return true
	case 'f':
		s.at += len("false")
		return false
	case 'n':
		s.at += len("null")
		return nil
	}
	start := s.at
	for s.at < len(s.data) && bytes.IndexByte([]byte(" \t\r\n,]}"), s.data[s.at]) < 0 {
		s.at++
	}
	return json.Number(s.data[start:s.at])
}
