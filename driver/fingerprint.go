package driver

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math/big"
	"strings"
)

// HashID returns the hash by which a command id is remembered: the first 8 bytes of
// its SHA-256.
func HashID(id string) uint64 {
	sum := sha256.Sum256([]byte(id))
	return binary.BigEndian.Uint64(sum[:])
}

// Fingerprint returns a fingerprint of what a command requests: its target, entity,
// type and data. It depends on the value of the data and not on its JSON text: white
// space, the order of fields, and the notation of strings and numbers do not change
// it. It does not depend on the version, which the code of the sender defines. It is
// never 0.
func Fingerprint(c Command) uint32 {
	h := sha256.New()
	for _, part := range []string{c.Target, c.Entity, c.Type} {
		h.Write(binary.AppendUvarint(nil, uint64(len(part))))
		h.Write([]byte(part))
	}
	h.Write(canonical(c.Data))
	return max(binary.BigEndian.Uint32(h.Sum(nil)), 1)
}

// canonical returns the canonical form of a JSON value, or data if it is not JSON.
func canonical(data json.RawMessage) []byte {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return data
	}
	b, err := json.Marshal(canonicalNumbers(v)) // it sorts the fields of objects
	if err != nil {
		return data
	}
	return b
}

// canonicalNumbers replaces each number by a form that depends only on its value.
func canonicalNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = canonicalNumbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = canonicalNumbers(v[i])
		}
	case json.Number:
		const digits = 18
		if len(v) <= digits && !strings.ContainsAny(string(v), ".eE") && v != "-0" {
			return v
		}
		// 1,024 bits distinguish all numbers of up to 300 digits.
		f, _, err := big.ParseFloat(string(v), 10, 1024, big.ToNearestEven)
		switch {
		case err != nil:
			return v
		case f.Sign() == 0:
			return json.Number("0")
		case f.IsInt() && f.MantExp(nil) < 59: // at most 18 digits
			return json.Number(f.Text('f', 0))
		}
		return f.Text('p', 0)
	}
	return v
}
