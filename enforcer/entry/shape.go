package entry

import (
	"strconv"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

var errUnknownKey = shapeError("is not known")

func (c *converter) intern(s string) string {
	if kept, ok := c.strings[s]; ok {
		return kept
	}
	s = strings.Clone(s)
	c.strings[s] = s
	return s
}

func boolean(v ast.Value) (bool, error) {
	b, ok := v.(ast.Boolean)
	if !ok {
		return false, shapef("is %s, not a boolean", ast.ValueName(v))
	}
	return bool(b), nil
}

// integer converts a number written the one way in which an integer of an entry is written back.
func integer(v ast.Value) (int64, error) {
	number, ok := v.(ast.Number)
	if !ok {
		return 0, shapef("is %s, not a number", ast.ValueName(v))
	}
	n, err := strconv.ParseInt(string(number), 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != string(number) {
		return 0, shapeError("is not an integer as tools write it")
	}
	return n, nil
}

// elements converts an array. Sets are no lists: they have no order, and no duplicates.
func elements[T any](v ast.Value, convert func(ast.Value) (T, error)) ([]T, error) {
	array, ok := v.(*ast.Array)
	if !ok {
		return nil, shapef("is %s, not an array", ast.ValueName(v))
	}
	if array.Len() > maxEntries {
		return nil, shapef("has more than %d entries", maxEntries)
	}
	out := make([]T, array.Len())
	for i := range out {
		var err error
		if out[i], err = convert(array.Elem(i).Value); err != nil {
			return nil, shapef("%d: %s", i, err)
		}
	}
	return out, nil
}

// members calls member for each key of an object, in the order of the keys. The syntax tree has a key that is written twice
// twice, and an evaluation takes the later one.
func members(v ast.Value, member func(key string, v ast.Value) error) error {
	obj, ok := v.(ast.Object)
	if !ok {
		return shapef("is %s, not an object", ast.ValueName(v))
	}
	previous := (*ast.Term)(nil)
	return obj.Iter(func(k, v *ast.Term) error {
		key, ok := k.Value.(ast.String)
		if !ok {
			return shapeError("has a key that is not a string")
		}
		if previous != nil && previous.Equal(k) {
			return shapef("%s is there twice", strconv.Quote(clip(string(key))))
		}
		previous = k
		if err := member(string(key), v.Value); err != nil {
			return shapef("%s %s", strconv.Quote(clip(string(key))), err)
		}
		return nil
	})
}

// record converts an object that has all the keys of required, and may have those of optional.
func record(v ast.Value, required map[string]func(ast.Value) error, optional ...map[string]func(ast.Value) error) error {
	missing := len(required)
	err := members(v, func(key string, v ast.Value) error {
		if convert := required[key]; convert != nil {
			missing--
			return convert(v)
		}
		for _, keys := range optional {
			if convert := keys[key]; convert != nil {
				return convert(v)
			}
		}
		return errUnknownKey
	})
	if err == nil && missing > 0 {
		return shapef("lacks %d of its keys", missing)
	}
	return err
}

// into and list make a member's conversion of where its value is kept.
func into[T any](to *T, convert func(ast.Value) (T, error)) func(ast.Value) error {
	return func(v ast.Value) (err error) {
		*to, err = convert(v)
		return err
	}
}

func list[T any](to *[]T, convert func(ast.Value) (T, error)) func(ast.Value) error {
	return into(to, func(v ast.Value) ([]T, error) { return elements(v, convert) })
}

// shared converts a value, or finds that an equal one was converted before.
func shared[T any](v ast.Value, known map[string]*T, convert func(ast.Value) (*T, error)) (*T, error) {
	if _, ok := v.(ast.Object); !ok || !v.IsGround() {
		return nil, shapef("is %s, not an object", ast.ValueName(v))
	}
	key := v.String()
	if kept := known[key]; kept != nil {
		return kept, nil
	}
	out, err := convert(v)
	if err != nil {
		return nil, err
	}
	known[key] = out
	return out, nil
}

// constantObject converts nothing: it says whether a value is an object without variables, references, calls, or keys that
// are there twice, at any depth.
func constantObject(v ast.Value) error {
	if _, ok := v.(ast.Object); !ok || !ast.IsConstant(v) {
		return shapeError("is not a constant object")
	}
	var twice bool
	ast.WalkTerms(ast.NewTerm(v), func(t *ast.Term) bool {
		obj, ok := t.Value.(ast.Object)
		if !ok {
			return false
		}
		var previous *ast.Term
		obj.Foreach(func(k, _ *ast.Term) {
			twice = twice || previous != nil && previous.Equal(k)
			previous = k
		})
		return twice
	})
	if twice {
		return shapeError("has a key that is there twice")
	}
	return nil
}
