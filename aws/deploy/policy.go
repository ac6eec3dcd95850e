package deploy

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
)

// The limits of IAM for a role, in characters without white space.
// https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
const (
	maxInlineBytes  = 10240 // of all inline policies of a role
	maxManagedBytes = 6144  // of a managed policy
	maxManaged      = 10    // of a role, unless the quota was raised
)

// policy is a policy document.
type policy struct {
	Version   string
	Statement []statement
}

// statement allows actions. Its fields have the usual order of IAM documents.
type statement struct {
	Effect    string
	Principal map[string]string            `json:",omitempty"`
	Action    []string                     `json:"Action"`
	Resource  []string                     `json:",omitempty"`
	Condition map[string]map[string]values `json:",omitempty"`
}

// values is encoded as one value or as a list, as usual in IAM documents.
type values []string

// MarshalJSON implements [json.Marshaler].
func (v values) MarshalJSON() ([]byte, error) {
	if len(v) == 1 {
		return json.Marshal(v[0])
	}
	return json.Marshal([]string(v))
}

// document returns a policy as JSON. The same statements always give the same text;
// otherwise every preview would show a change.
func document(statements ...statement) string {
	text, err := json.Marshal(policy{"2012-10-17", statements})
	if err != nil {
		panic(fmt.Sprintf("deploy: encode a policy: %v", err)) // impossible: it has only strings
	}
	return string(text)
}

// trust returns the policy that allows a service to assume a role.
func trust(service string, condition map[string]map[string]values) string {
	return document(statement{
		Effect: "Allow", Principal: map[string]string{"Service": service}, Action: []string{"sts:AssumeRole"}, Condition: condition,
	})
}

// permissions are the allowed actions of a function by resource.
type permissions map[string]map[string]bool

func (r permissions) allow(resource string, actions ...string) {
	if r[resource] == nil {
		r[resource] = map[string]bool{}
	}
	for _, a := range actions {
		r[resource][a] = true
	}
}

// statements returns the statements, one for all resources with the same actions. Their
// order depends only on their content.
func (r permissions) statements() []statement {
	byActions := map[string][]string{}
	for resource, actions := range r {
		key := strings.Join(slices.Sorted(maps.Keys(actions)), " ")
		byActions[key] = append(byActions[key], resource)
	}
	var out []statement
	for _, key := range slices.Sorted(maps.Keys(byActions)) {
		resources := byActions[key]
		slices.Sort(resources)
		out = append(out, statement{Effect: "Allow", Action: strings.Split(key, " "), Resource: resources})
	}
	return out
}

// documents returns one inline policy for statements if they fit; otherwise several
// managed policies.
func documents(statements []statement) (inline string, managed []string) {
	if inline = document(statements...); len(inline) <= maxInlineBytes {
		return inline, nil
	}
	var current []statement
	for _, s := range statements {
		for len(s.Resource) > 0 {
			part := s
			// Find the number of the statement's resources that still fit.
			n := sort.Search(len(s.Resource), func(n int) bool {
				part.Resource = s.Resource[:n+1]
				return len(document(append(slices.Clone(current), part)...)) > maxManagedBytes
			})
			if n == 0 && len(current) == 0 {
				n = 1 // a single resource exceeds the limit: IAM will report it
			}
			if part.Resource = s.Resource[:n]; n > 0 {
				current = append(current, part)
			}
			if s.Resource = s.Resource[n:]; len(s.Resource) > 0 {
				managed = append(managed, document(current...))
				current = nil
			}
		}
	}
	return "", append(managed, document(current...))
}
