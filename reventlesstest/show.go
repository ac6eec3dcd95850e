package reventlesstest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/reventless-go/reventless/driver"
	"github.com/reventless-go/reventless/internal/component"
)

// lineLength is the maximum length of a line; longer JSON is indented.
const lineLength = 88

// showEvent returns an encoded message on one line.
func showEvent(e driver.Event) string {
	name := e.Type
	if e.Version > 1 {
		name = fmt.Sprintf("%s v%d", e.Type, e.Version)
	}
	return name + " " + canonical(e.Data)
}

func showEvents(events []driver.Event) []string {
	out := make([]string, len(events))
	for i, e := range events {
		out[i] = showEvent(e)
	}
	return out
}

func showRejection(r *component.Rejection) string {
	s := "rejected " + r.Code
	if r.Detail != nil {
		return s + " " + canonical(r.Detail)
	}
	if r.Message != r.Code {
		s += fmt.Sprintf(" (%s)", r.Message)
	}
	return s
}

// showAction returns an action on one line. Actions are equal if and only if they have
// the same target and the same line.
func showAction(a component.Action) string {
	target := "nothing"
	if a.Target != nil {
		target = a.Target.Name
	}
	switch a.Kind {
	case component.SendCommand:
		s := fmt.Sprintf("send %s %q: %s", target, a.ID, showEvent(a.Command))
		if a.Delay != 0 {
			s = fmt.Sprintf("after %v %s", a.Delay, s)
		}
		return s
	case component.AddCount:
		return fmt.Sprintf("count %d on %s %q, reference %q", a.N, target, a.ID, a.Ref)
	case component.AddTarget:
		return fmt.Sprintf("add target %d to %s %q, reference %q", a.N, target, a.ID, a.Ref)
	case component.CreateSchedule:
		when := a.Expression
		if a.Zone != "" {
			when += " " + a.Zone
		}
		return fmt.Sprintf("create schedule %q %s: send %s %q: %s", a.Ref, when, target, a.ID, showEvent(a.Command))
	case component.DeleteSchedule:
		return fmt.Sprintf("delete schedule %q", a.Ref)
	}
	return fmt.Sprintf("action %d", a.Kind)
}

func showActions(actions []component.Action) []string {
	out := make([]string, len(actions))
	for i, a := range actions {
		out[i] = showAction(a)
	}
	return out
}

// mismatch returns two lists with their names: on one line each if they are short,
// otherwise as a line-by-line difference.
func mismatch(wantName, gotName string, want, got []string) string {
	if len(want) <= 1 && len(got) <= 1 && len(one(want)) <= lineLength && len(one(got)) <= lineLength &&
		!strings.Contains(one(want)+one(got), "\n") {
		width := max(len(wantName), len(gotName)) + 1
		return fmt.Sprintf("  %-*s %s\n  %-*s %s", width, wantName+":", one(want), width, gotName+":", one(got))
	}
	var b strings.Builder
	fmt.Fprintf(&b, "  %s (-), %s (+):", wantName, gotName)
	for _, l := range diff(spread(want), spread(got)) {
		b.WriteString("\n  " + l)
	}
	return b.String()
}

func one(list []string) string {
	if len(list) == 0 {
		return "nothing"
	}
	return list[0]
}

// spread returns the lines of a list. JSON in a line that is too long is indented.
func spread(list []string) []string {
	var lines []string
	for _, s := range list {
		if at := strings.IndexAny(s, "{["); len(s) > lineLength && at >= 0 {
			var b bytes.Buffer
			if json.Indent(&b, []byte(s[at:]), "", "  ") == nil {
				s = s[:at] + b.String()
			}
		}
		lines = append(lines, strings.Split(s, "\n")...)
	}
	return lines
}

// around is the number of equal lines that are shown before and after a difference.
const around = 3

// diff returns the lines of a and b, marked with "- " if they are only in a, and with
// "+ " if they are only in b. Long runs of equal lines are shortened.
func diff(a, b []string) []string {
	head := 0
	for head < len(a) && head < len(b) && a[head] == b[head] {
		head++
	}
	tail := 0
	for tail < len(a)-head && tail < len(b)-head && a[len(a)-1-tail] == b[len(b)-1-tail] {
		tail++
	}
	var out []string
	for _, l := range a[:head] {
		out = append(out, "  "+l)
	}
	out = append(out, diffMiddle(a[head:len(a)-tail], b[head:len(b)-tail])...)
	for _, l := range a[len(a)-tail:] {
		out = append(out, "  "+l)
	}
	return collapse(out)
}

// maxTable bounds the memory of diffMiddle; above it, all lines count as changed.
const maxTable = 4 << 20

// diffMiddle finds a longest common subsequence of lines.
func diffMiddle(a, b []string) []string {
	var out []string
	if len(a)*len(b) > maxTable {
		for _, l := range a {
			out = append(out, "- "+l)
		}
		for _, l := range b {
			out = append(out, "+ "+l)
		}
		return out
	}
	common := make([][]int, len(a)+1) // lengths, for a[i:] and b[j:]
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			out = append(out, "  "+a[i])
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || common[i+1][j] >= common[i][j+1]):
			out = append(out, "- "+a[i])
			i++
		default:
			out = append(out, "+ "+b[j])
			j++
		}
	}
	return out
}

// collapse shortens runs of equal lines that are far from a difference.
func collapse(lines []string) []string {
	same := func(l string) bool { return strings.HasPrefix(l, "  ") }
	if !slices.ContainsFunc(lines, func(l string) bool { return !same(l) }) {
		return lines
	}
	keep := make([]bool, len(lines))
	for i, l := range lines {
		if same(l) {
			continue
		}
		for k := max(0, i-around); k <= min(len(lines)-1, i+around); k++ {
			keep[k] = true
		}
		for k := i; k >= 0; k-- { // the line that the difference belongs to
			if text := lines[k][2:]; text != "" && !strings.ContainsAny(text[:1], " }]") {
				keep[k] = true
				break
			}
		}
	}
	var out []string
	for i := 0; i < len(lines); i++ {
		if keep[i] {
			out = append(out, lines[i])
			continue
		}
		n := 0
		for i+n < len(lines) && !keep[i+n] {
			n++
		}
		if n == 1 {
			out = append(out, lines[i])
		} else {
			out = append(out, fmt.Sprintf("  ... %d equal lines", n))
		}
		i += n - 1
	}
	return out
}
