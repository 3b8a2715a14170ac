package expr

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

// equal compares as equals() does: strings with their case, numbers by value.
func equal(a, b *tree.Node) bool {
	if a.Kind == tree.Number && b.Kind == tree.Number {
		x, errX := strconv.ParseFloat(a.Text, 64)
		y, errY := strconv.ParseFloat(b.Text, 64)
		if errX == nil && errY == nil && (math.Abs(x) < 1<<53 || math.Abs(y) < 1<<53) {
			return x == y
		}
	}
	return tree.Equal(a, b)
}

func evalNot(a []*tree.Node) (*tree.Node, error) {
	known, err := truth(a[0])
	return tree.Boolean(known == "false"), err
}

// compare orders two whole numbers, or two strings by their bytes.
func compare(f func(int) bool) func([]*tree.Node) (*tree.Node, error) {
	return func(a []*tree.Node) (*tree.Node, error) {
		if a[0].Kind == tree.String && a[1].Kind == tree.String {
			return tree.Boolean(f(strings.Compare(a[0].Text, a[1].Text))), nil
		}
		x, err := whole(a[0])
		if err != nil {
			return nil, err
		}
		y, err := whole(a[1])
		return tree.Boolean(f(cmp.Compare(x, y))), err
	}
}

func arithmetic(f func(a, b int64) (int64, error)) func([]*tree.Node) (*tree.Node, error) {
	return func(a []*tree.Node) (*tree.Node, error) {
		x, err := whole(a[0])
		if err != nil {
			return nil, err
		}
		y, err := whole(a[1])
		if err != nil {
			return nil, err
		}
		// The language counts in 32 bits here and there: what does not fit is refused, not wrapped.
		if max(x, y) > math.MaxInt32 || min(x, y) < math.MinInt32 {
			return nil, fmt.Errorf("%d and %d: want numbers of 32 bits", x, y)
		}
		n, err := f(x, y)
		return integer(n), err
	}
}

func divide(a, b int64) (int64, error) {
	if b == 0 {
		return 0, errors.New("division by zero")
	}
	return a / b, nil
}

func modulo(a, b int64) (int64, error) {
	if b == 0 {
		return 0, errors.New("division by zero")
	}
	return a % b, nil
}

// extreme takes whole numbers, or one array of them.
func extreme(better func(a, b int64) bool) func([]*tree.Node) (*tree.Node, error) {
	return func(a []*tree.Node) (*tree.Node, error) {
		if len(a) == 1 && a[0].Kind == tree.Array {
			a = a[0].Items
		}
		if len(a) == 0 {
			return nil, errors.New("of no numbers")
		}
		var best int64
		for i, n := range a {
			v, err := whole(n)
			if err != nil {
				return nil, err
			}
			if i == 0 || better(v, best) {
				best = v
			}
		}
		return integer(best), nil
	}
}

func evalInt(a []*tree.Node) (*tree.Node, error) {
	if a[0].Kind == tree.String {
		n, err := strconv.ParseInt(strings.TrimSpace(a[0].Text), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is not a whole number", a[0].Quote())
		}
		return integer(n), nil
	}
	n, err := whole(a[0])
	return integer(n), err
}

func evalBool(a []*tree.Node) (*tree.Node, error) {
	switch n := a[0]; {
	case n.Kind == tree.Bool:
		return n, nil
	case n.Kind == tree.String && tree.EqualFold(n.Text, "true"):
		return tree.Boolean(true), nil
	case n.Kind == tree.String && tree.EqualFold(n.Text, "false"):
		return tree.Boolean(false), nil
	case n.Kind == tree.Number:
		return tree.Boolean(strings.Trim(n.Text, "-0") != ""), nil
	}
	return nil, fmt.Errorf("got %s, want a boolean, \"true\", \"false\" or a number", a[0].Kind)
}
