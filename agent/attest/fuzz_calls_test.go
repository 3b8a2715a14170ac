package attest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
)

// FuzzCalls sends what a container could: every answer is one JSON document, and no call but the one for evidence of an identity reaches the device with a
// REPORT_DATA whose last 16 bytes are not zero.
func FuzzCalls(f *testing.F) {
	f.Add(uint8(0), "", []byte(nonceBody(testNonce)))
	f.Add(uint8(1), "", []byte(azureBody([]byte("key"))))
	f.Add(uint8(2), "runtime_data=x&encoding=base64", []byte(nil))
	f.Add(uint8(2), "runtime_data=%ff", []byte("{}"))
	f.Add(uint8(5), "", []byte(`{"nonce":"00","nonce":1}`))
	paths := []string{"/v1/evidence", "/attest/raw", "/aa/evidence", "/attest/combined", "/attest/bundle", "/info", "/status", "/attest/maa"}
	certs := table(f)
	log := newLog()
	f.Fuzz(func(t *testing.T, which uint8, query string, body []byte) {
		d := &fakeDevice{version: 3, certs: certs}
		s := newSubject(newBroker(d, withPolicy(log)), named("c1", 1))
		path := paths[int(which)%len(paths)]
		method := http.MethodPost
		if r, ok := routes[path]; ok {
			method = r.method
		}
		w := httptest.NewRecorder()
		r := httptest.NewRequest(method, path, bytes.NewReader(body))
		r.URL = &url.URL{Path: path, RawQuery: query}
		s.serve(w, r)
		dec := json.NewDecoder(w.Body)
		var doc map[string]json.RawMessage
		if err := dec.Decode(&doc); err != nil || len(doc) == 0 {
			t.Fatalf("%s: got %v, want a JSON object", path, err)
		}
		if _, failed := doc["error"]; failed != (w.Code != http.StatusOK) || dec.More() {
			t.Fatalf("%s: status %d with %v", path, w.Code, doc)
		}
		for _, asked := range d.asked {
			if path != "/v1/evidence" && !bytes.Equal(asked[48:], make([]byte, 16)) {
				t.Fatalf("%s: asked for REPORT_DATA %x", path, asked)
			}
		}
	})
}
