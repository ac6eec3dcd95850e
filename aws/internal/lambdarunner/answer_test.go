package lambdarunner

import (
	"slices"
	"testing"
)

func TestFailed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		answer string
		items  []string
		ok     bool
	}{
		{``, nil, true},
		{`null`, nil, true},
		{`{}`, nil, true},
		{`{"batchItemFailures":null}`, nil, true},
		{`{"batchItemFailures":[]}`, nil, true},
		{`{"batchitemfailures":[{"itemIdentifier":"a"}]}`, nil, true}, // Lambda knows no such field
		{`{"batchItemFailures":[{"itemIdentifier":"a"},{"itemIdentifier":"b"}]}`, []string{"a", "b"}, true},
		{`{"batchItemFailures":[{"itemIdentifier":""}]}`, nil, false},
		{`{"batchItemFailures":[{"itemIdentifier":null}]}`, nil, false},
		{`{"batchItemFailures":[{"itemidentifier":"a"}]}`, nil, false},
		{`{"batchItemFailures":[{}]}`, nil, false},
		{`{"batchItemFailures":{}}`, nil, false},
		{`"fine"`, nil, false},
		{`{`, nil, false},
	} {
		items, ok := failed([]byte(test.answer))
		if ok != test.ok || ok && !slices.Equal(items, test.items) {
			t.Errorf("%s: got %q, %v", test.answer, items, ok)
		}
	}
}
