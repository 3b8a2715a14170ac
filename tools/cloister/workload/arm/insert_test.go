package arm

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/cloister-cc/cloister/tools/cloister/workload"
	"github.com/cloister-cc/cloister/tools/cloister/workload/jsontree"
	"github.com/cloister-cc/cloister/tools/cloister/workload/tree"
)

const policy = "bmV3IHBvbGljeQ=="

func TestInsertPlaces(t *testing.T) {
	const containers = `"containers":[{"name":"c","properties":{"image":"i"}}]`
	doc := func(properties string) string {
		return `{"resources":[{"type":"Microsoft.ContainerInstance/containerGroups","properties":{` + properties + `}}]}`
	}
	for _, test := range []struct{ name, in, want string }{
		{"value", doc(`"confidentialComputeProperties":{"ccePolicy":"old"},` + containers), doc(`"confidentialComputeProperties":{"ccePolicy":"` + policy + `"},` + containers)},
		{"expression", doc(`"confidentialComputeProperties":{"ccePolicy" : "[resourceGroup().id]" },` + containers), doc(`"confidentialComputeProperties":{"ccePolicy" : "` + policy + `" },` + containers)},
		{"no-policy", doc(`"confidentialComputeProperties":{},` + containers), doc(`"confidentialComputeProperties":{"ccePolicy":"` + policy + `"},` + containers)},
		{"null", doc(`"confidentialComputeProperties":null,` + containers), doc(`"confidentialComputeProperties":{"ccePolicy":"` + policy + `"},` + containers)},
		{"no-object", doc(containers), doc(containers + `,"confidentialComputeProperties":{"ccePolicy":"` + policy + `"}`)},
		{
			"lines", "{\r\n\t\"resources\": [\r\n\t\t{\r\n\t\t\t\"type\": \"Microsoft.ContainerInstance/containerGroups\",\r\n\t\t\t\"properties\": {\r\n\t\t\t\t" + containers + " // last\r\n\t\t\t}\r\n\t\t}\r\n\t]\r\n}\r\n",
			"{\r\n\t\"resources\": [\r\n\t\t{\r\n\t\t\t\"type\": \"Microsoft.ContainerInstance/containerGroups\",\r\n\t\t\t\"properties\": {\r\n\t\t\t\t" + containers + ",\r\n\t\t\t\t\"confidentialComputeProperties\": {\r\n\t\t\t\t\t\"ccePolicy\": \"" + policy + "\"\r\n\t\t\t\t} // last\r\n\t\t\t}\r\n\t\t}\r\n\t]\r\n}\r\n",
		},
		{
			"empty-lines", "{\n  \"resources\": [\n    { \"type\": \"Microsoft.ContainerInstance/containerGroups\",\n      \"properties\": {\n        \"CONFIDENTIALcomputeProperties\": {}, " + containers + " } } ] }\n",
			"{\n  \"resources\": [\n    { \"type\": \"Microsoft.ContainerInstance/containerGroups\",\n      \"properties\": {\n        \"CONFIDENTIALcomputeProperties\": {\n          \"ccePolicy\": \"" + policy + "\"\n        }, " + containers + " } } ] }\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := Input{Template: workload.Document{Name: "t.json", Data: []byte(test.in)}}
			got, err := Insert(t.Context(), in, 0, policy)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, string(got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			in.Template.Data = got
			again, err := Insert(t.Context(), in, 0, policy)
			if err != nil || !bytes.Equal(again, got) {
				t.Errorf("a second time: %v, got\n%s", err, again)
			}
		})
	}
}

func TestInsertRefuses(t *testing.T) {
	in := Input{Template: file(t, "two-groups.json"), Parameters: []workload.Document{file(t, "two-groups.parameters.json")}}
	for _, test := range []struct {
		name     string
		template string
		group    int
		want     string
	}{
		{"loop", "", 1, "a loop makes groups of this one that are not alike"},
		{"number", "", 9, "got group 9, the template has 5"},
		{"negative", "", -1, "got group -1"},
		{"elsewhere", `{"variables": {"p": {"containers": [{"properties": {"image": "i"}}]}},
  "resources": [{"type": "Microsoft.ContainerInstance/containerGroups", "properties": "[variables('p')]"}]}`, 0, "t.json:2: resources[0].properties: got a string, want an object that stands here itself"},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := in
			if test.template != "" {
				in = Input{Template: workload.Document{Name: "t.json", Data: []byte(test.template)}}
			}
			out, err := Insert(t.Context(), in, test.group, policy)
			if err == nil || !strings.Contains(err.Error(), test.want) || out != nil {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestInsertLoop(t *testing.T) {
	doc := strings.Replace(minimal("", ""), `"name": "g"`, `"name": "[concat('g', copyIndex())]", "copy": {"name": "l", "count": 3}`, 1)
	in := Input{Template: workload.Document{Name: "t.json", Data: []byte(doc)}}
	groups, err := Read(t.Context(), in)
	if err != nil || len(groups) != 3 {
		t.Fatalf("got %d groups, %v", len(groups), err)
	}
	checkInsert(t, in, groups)
	if _, err := Insert(t.Context(), in, 2, policy); err != nil {
		t.Errorf("groups that are alike: %v", err)
	}
}

// checkInsert writes a policy into each group that has a place for one: nothing else in what is read may change.
func checkInsert(t *testing.T, in Input, groups []workload.Group) {
	for i := range groups {
		out, err := Insert(t.Context(), in, i, policy)
		if err != nil {
			if out != nil {
				t.Fatal("an error came with a document")
			}
			continue
		}
		next := in
		next.Template.Data = out
		got, err := Read(t.Context(), next)
		if err != nil {
			t.Fatalf("what Insert wrote is not read: %v\n%s", err, out)
		}
		want := slices.Clone(groups)
		for j := range want {
			if want[j].Origin == groups[i].Origin { // another turn of the same loop
				want[j].Existing = &workload.Text{Value: policy}
			}
		}
		opts := []cmp.Option{cmpopts.IgnoreTypes(workload.Origin{}), cmpopts.EquateEmpty()}
		if diff := cmp.Diff(want, got, opts...); diff != "" {
			t.Fatalf("group %d (-want +got):\n%s", i, diff)
		}
		again, err := Insert(t.Context(), next, i, policy)
		if err != nil || !bytes.Equal(again, out) {
			t.Fatalf("a second time: %v\n%s", err, again)
		}
	}
}

func TestInsertGolden(t *testing.T) {
	in := Input{Template: file(t, "two-groups.json"), Parameters: []workload.Document{file(t, "two-groups.parameters.json")}}
	groups, err := Read(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	checkInsert(t, in, groups)
}

func FuzzRead(f *testing.F) {
	for _, name := range []string{"two-groups.json", "small.json"} {
		f.Add(file(f, name).Data, []byte(`{"parameters": {"tag": {"value": "1.1"}}}`))
	}
	f.Add([]byte(minimal("", `,"command": ["[concat('a', parameters('open'))]"]`)), []byte(`{}`))
	f.Fuzz(func(t *testing.T, template, parameters []byte) {
		in := Input{Template: workload.Document{Name: "t.json", Data: template}}
		if len(parameters) > 0 {
			in.Parameters = []workload.Document{{Name: "p.json", Data: parameters}}
		}
		groups, err := Read(t.Context(), in)
		if err != nil {
			if groups != nil {
				t.Fatal("an error came with groups")
			}
			return
		}
		for _, g := range groups {
			for _, c := range g.Containers {
				if c.Image.Wildcard || c.Image.Value == "" {
					t.Fatalf("image %+v", c.Image)
				}
			}
		}
		if len(groups) < 20 {
			checkInsert(t, in, groups)
		}
	})
}

// Whatever else is in a policy's place, the JSON around it stays.
func FuzzInsertPolicy(f *testing.F) {
	f.Add([]byte("package policy"))
	f.Fuzz(func(t *testing.T, text []byte) {
		value := base64.StdEncoding.EncodeToString(text)
		doc := minimal("", "")
		out, err := Insert(t.Context(), Input{Template: workload.Document{Data: []byte(doc)}}, 0, value)
		if err != nil {
			t.Fatal(err)
		}
		n, err := jsontree.Parse(out)
		if err != nil {
			t.Fatal(err)
		}
		got := n.Member("resources").Items[0].Member("properties").Member("confidentialComputeProperties").Member("ccePolicy")
		if !tree.Equal(got, tree.Str(value)) {
			t.Errorf("got %q", got.Text)
		}
	})
}
