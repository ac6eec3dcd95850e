package lambdarunner

import (
	"bytes"
	"encoding/json"
)

// failed returns the items that an answer reports as failed. ok is false if the answer
// fails the whole batch. As in Lambda, a missing or empty list is success, and the names
// of fields are case-sensitive.
// https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-batchfailurereporting.html
func failed(answer []byte) (items []string, ok bool) {
	if isNull(answer) {
		return nil, true
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(answer, &fields) != nil {
		return nil, false
	}
	list := fields["batchItemFailures"]
	if isNull(list) {
		return nil, true
	}
	var failures []map[string]*string
	if json.Unmarshal(list, &failures) != nil {
		return nil, false
	}
	for _, f := range failures {
		id := f["itemIdentifier"]
		if id == nil || *id == "" {
			return nil, false
		}
		items = append(items, *id)
	}
	return items, true
}

func isNull(text []byte) bool {
	text = bytes.TrimSpace(text)
	return len(text) == 0 || string(text) == "null"
}
