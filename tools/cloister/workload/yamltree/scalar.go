package yamltree

import (
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// words are the plain scalars that are no strings in YAML 1.1.
var words = map[string]tree.Node{}

func init() {
	for _, w := range strings.Fields("y Y yes Yes YES true True TRUE on On ON") {
		words[w] = tree.Node{Kind: tree.Bool, Text: "true"}
	}
	for _, w := range strings.Fields("n N no No NO false False FALSE off Off OFF") {
		words[w] = tree.Node{Kind: tree.Bool, Text: "false"}
	}
	for _, w := range []string{"", "~", "null", "Null", "NULL"} {
		words[w] = tree.Node{Kind: tree.Null}
	}
}

var float = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)

// scalar reads a scalar: in quotes or a block a string, else by its form.
func scalar(n *tree.Node, y *yaml.Node) error {
	tagged := y.Style&yaml.TaggedStyle != 0
	if tagged && y.ShortTag() != "!!str" {
		return failf(y, "tag %s is not understood", cut(y.Tag))
	}
	n.Kind, n.Text = tree.String, y.Value
	if tagged || y.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return nil
	}
	if w, ok := words[y.Value]; ok {
		n.Kind, n.Text = w.Kind, w.Text
		return nil
	}
	return number(n, y)
}

// number reads whole numbers of any base, and numbers with a fraction as they are written.
func number(n *tree.Node, y *yaml.Node) error {
	if y.Value[0] != '.' && y.Value[0] != '-' && y.Value[0] != '+' && (y.Value[0] < '0' || y.Value[0] > '9') {
		return nil
	}
	switch tree.Fold(strings.TrimLeft(y.Value, "+-")) {
	case ".inf", ".nan":
		return failf(y, "%s is not a number that JSON has", cut(y.Value))
	}
	plain := strings.ReplaceAll(y.Value, "_", "")
	if i, err := strconv.ParseInt(plain, 0, 64); err == nil {
		n.Kind, n.Text = tree.Number, strconv.FormatInt(i, 10)
		return nil
	}
	if i, err := strconv.ParseUint(plain, 0, 64); err == nil {
		n.Kind, n.Text = tree.Number, strconv.FormatUint(i, 10)
		return nil
	}
	if !float.MatchString(plain) {
		return nil
	}
	v, err := strconv.ParseFloat(plain, 64)
	if err != nil {
		return failf(y, "%s is not a number of 64 bits", cut(y.Value))
	}
	n.Kind, n.Text = tree.Number, strconv.FormatFloat(v, 'g', -1, 64)
	return nil
}
