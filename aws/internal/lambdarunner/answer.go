package lambdarunner

import (
	"bytes"
	"encoding/json"
)

// failed returns the items that an answer to a batch reports; ok is false when all
// of the batch failed by it. As in Lambda, no list and an empty one is success, and
// names are those of the documentation, in their case.
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
