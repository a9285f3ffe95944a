package jws

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// codeOf returns the code of a refusal, "" for nil.
func codeOf(t testing.TB, err error) Code {
	t.Helper()
	if err == nil {
		return ""
	}
	var e *Error
	if !errors.As(err, &e) {
		t.Fatalf("%T %v, want an *Error", err, err)
	}
	return e.Code
}

func TestParseObjectAccepts(t *testing.T) {
	cases := []struct{ in, want string }{
		{`{}`, ``},
		{" \t\r\n{ \t\r\n} \t\r\n", ``},
		{`{"a":1}`, `1 "a" number 1`},
		{`{"a":-0.5e+10,"b":10E-2,"c":0}`, `1 "a" number -0.5e+10;14 "b" number 10E-2;24 "c" number 0`},
		{`{ "a" : "x" , "b" : [ 1 , {} ] }`, `2 "a" string "x";14 "b" array [ 1 , {} ]`},
		{`{"a":true,"b":false,"c":null}`, `1 "a" true true;10 "b" false false;20 "c" null null`},
		{`{"a":{"b":{"b":1}},"b":[{"b":1},{"b":2}]}`, `1 "a" object {"b":{"b":1}};19 "b" array [{"b":1},{"b":2}]`},
		{`{"\u0061\/\"":"\ud83d\ude00\u0000"}`, `1 "a/\"" string "\ud83d\ude00\u0000"`},
		{`{"":"","é":"` + "\u2028\x7f" + `"}`, `1 "" string "";7 "é" string "` + "\u2028\x7f" + `"`},
		{`{"a":{"x":1,"X":2}}`, `1 "a" object {"x":1,"X":2}`}, // case matters at the top only
		{`{"a":[[[]]],"b":[]}`, `1 "a" array [[[]]];12 "b" array []`},
	}
	for _, c := range cases {
		members, err := ParseObject([]byte(c.in), 0, 0)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		var got []string
		for _, m := range members {
			got = append(got, fmt.Sprintf("%d %q %v %s", m.Offset, m.Name, m.Kind, m.Raw))
		}
		if s := strings.Join(got, ";"); s != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.in, s, c.want)
		}
	}
}

func TestParseObjectRefuses(t *testing.T) {
	cases := []struct {
		in     string
		code   Code
		offset int
	}{
		{``, NotObject, 0}, {`  `, NotObject, 2}, {`[]`, NotObject, 0}, {`"a"`, NotObject, 0}, {`null`, NotObject, 0},
		{"\ufeff{}", NotObject, 0},
		{`{`, Malformed, 1}, {`{"a"`, Malformed, 4}, {`{"a":`, Malformed, 5}, {`{"a":1`, Malformed, 6},
		{`{"a":1,}`, Malformed, 7}, {`{,}`, Malformed, 1}, {`{"a" 1}`, Malformed, 5}, {`{a:1}`, Malformed, 1},
		{`{'a':1}`, Malformed, 1}, {`{"a":1 "b":2}`, Malformed, 7}, {`{"a":[1,]}`, Malformed, 8}, {`{"a":[1 2]}`, Malformed, 8},
		{`{"a":[}`, Malformed, 6}, {`{"a":+1}`, Malformed, 5}, {`{"a":01}`, Malformed, 6}, {`{"a":.5}`, Malformed, 5},
		{`{"a":1.}`, Malformed, 7}, {`{"a":1e}`, Malformed, 7}, {`{"a":-}`, Malformed, 6}, {`{"a":0x1}`, Malformed, 6},
		{`{"a":NaN}`, Malformed, 5}, {`{"a":tru}`, Malformed, 5}, {`{"a":truex}`, Malformed, 9}, {`{"a":True}`, Malformed, 5},
		{`{"a":nul`, Malformed, 5}, {`{"a":fals}`, Malformed, 5}, {`{"a":1/**/}`, Malformed, 6},
		{"{\"a\":\"\n\"}", Malformed, 6}, {"{\"a\":\"\x00\"}", Malformed, 6}, {"{\"a\":1\x00}", Malformed, 6}, {"{\"a\":1\u00a0}", Malformed, 6},
		{`{"a":"\x41"}`, Malformed, 6}, {`{"a":"\u12g4"}`, Malformed, 6}, {`{"a":"\u12`, Malformed, 6}, {`{"a":"\`, Malformed, 6}, {`{"a":"b`, Malformed, 7},
		{`{} {}`, Trailing, 3}, {`{},`, Trailing, 2}, {`{}` + "\x00", Trailing, 2}, {`{"a":1}}`, Trailing, 7},
		{"{\"a\":\"\xff\"}", NotUTF8, 6}, {"{\"\xc3\":1}", NotUTF8, 2}, {"{\"a\":\"\xed\xa0\x80\"}", NotUTF8, 6}, {"{\"a\":\"\xc0\x80\"}", NotUTF8, 6},
		{"{\"\u00e9\":\"\ufffd\xff\"}", NotUTF8, 10}, // a real U+FFFD is not an error
		{`{"a":"\ud83d"}`, NotUTF8, 6}, {`{"a":"\ude00"}`, NotUTF8, 6}, {`{"a":"\ud83d\u0041"}`, NotUTF8, 6}, {`{"a":"\ude00\ud83d"}`, NotUTF8, 6},
		{`{"\ud83dx":1}`, NotUTF8, 2}, {`{"a":[{"b":"\ud83d\n"}]}`, NotUTF8, 12},
		{`{"a":1,"iss\u0000":2}`, Malformed, 7}, {`{"\u0000":1}`, Malformed, 1}, {`{"a\n":1}`, Malformed, 1}, {`{"\u001f":1}`, Malformed, 1},
		{"{\"a\x7f\":1}", Malformed, 1}, {`{"\u007Fa":1}`, Malformed, 1}, {`{"a":{"b\u0000":1}}`, Malformed, 6}, {`{"a":[{"b\t":1}]}`, Malformed, 7},
		{`{"a":1,"a":2}`, Duplicate, 7}, {`{"a":1,"\u0061":2}`, Duplicate, 7}, {`{"a":{"b":1,"b":1}}`, Duplicate, 12},
		{`{"a":[[{"b":1,"c":2,"\u0062":1}]]}`, Duplicate, 20}, {`{"":1,"":1}`, Duplicate, 6},
		{`{"sub":1,"SUB":2}`, CaseVariant, 9}, {`{"sub":1,"\u0053ub":2}`, CaseVariant, 9}, {`{"kid":1,"` + "\u212a" + `id":2}`, CaseVariant, 9},
		{`{"sub":1,"` + "\u017f" + `ub":2}`, CaseVariant, 9}, {`{"É":1,"é":2}`, CaseVariant, 8}, {`{"σ":1,"x":0,"ς":2}`, CaseVariant, 14},
		{`{"a":{"b":{}}}`, TooDeep, 10}, {`{"a":[[]]}`, TooDeep, 6},
	}
	for _, c := range cases {
		depth := 3
		if c.code == TooDeep {
			depth = 2
		} else if strings.Contains(c.in, "[[{") {
			depth = 4
		}
		members, err := ParseObject([]byte(c.in), 0, depth)
		if codeOf(t, err) != c.code {
			t.Errorf("%q: %v %v, want %s", c.in, members, err, c.code)
			continue
		}
		if e := err.(*Error); e.Offset != c.offset {
			t.Errorf("%q: %s at byte %d, want %d", c.in, e.Code, e.Offset, c.offset)
		}
	}
}

func TestParseObjectLimits(t *testing.T) {
	if DefaultMaxBytes != 16384 || DefaultMaxDepth != 16 {
		t.Errorf("defaults are %d bytes and depth %d: the documents say 16 KiB and 16", DefaultMaxBytes, DefaultMaxDepth)
	}
	nested := func(depth int) []byte {
		return []byte(`{"a":` + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) + `}`)
	}
	padded := func(size int) []byte { return []byte("{}" + strings.Repeat(" ", size-2)) }
	cases := []struct {
		name         string
		in           []byte
		bytes, depth int
		want         Code
	}{
		{name: "default bytes", in: padded(DefaultMaxBytes)},
		{name: "over default bytes", in: padded(DefaultMaxBytes + 1), want: TooLarge},
		{name: "negative is the default", in: padded(DefaultMaxBytes + 1), bytes: -1, depth: -1, want: TooLarge},
		{name: "own bytes", in: padded(100), bytes: 100},
		{name: "over own bytes", in: padded(101), bytes: 100, want: TooLarge},
		{name: "default depth", in: nested(DefaultMaxDepth)},
		{name: "over default depth", in: nested(DefaultMaxDepth + 1), want: TooDeep},
		{name: "own depth", in: nested(200), depth: 200},
		{name: "over own depth", in: nested(201), depth: 200, want: TooDeep},
		{name: "the stack is bounded whatever the caller says", in: nested(deepest + 1), depth: 1 << 30, want: TooDeep},
	}
	for _, c := range cases {
		if _, err := ParseObject(c.in, c.bytes, c.depth); codeOf(t, err) != c.want {
			t.Errorf("%s: %v, want code %q", c.name, err, c.want)
		}
	}
}

// TestManyNames finds clashes among more names than are compared one by one, wherever they stand.
func TestManyNames(t *testing.T) {
	for _, count := range []int{fewNames - 1, fewNames, fewNames + 1, 200} {
		for _, at := range []int{0, count / 2, count - 1} {
			for again, want := range map[string]Code{"name": Duplicate, "NAME": CaseVariant, "\u006eaM\u0065": CaseVariant, "nam": "", "other": ""} {
				var b strings.Builder
				for i := range count {
					fmt.Fprintf(&b, `"%s%d":0,`, "name", i)
				}
				again = fmt.Sprintf("%s%d", again, at)
				if _, err := ParseObject([]byte(`{`+b.String()+`"`+again+`":0}`), 1<<20, 2); codeOf(t, err) != want {
					t.Errorf("%d names, then %q: %v, want %q", count, again, err, want)
				}
				if want == CaseVariant {
					want = ""
				}
				if _, err := ParseObject([]byte(`{"o":{`+b.String()+`"`+again+`":0}}`), 1<<20, 2); codeOf(t, err) != want {
					t.Errorf("nested: %d names, then %q: %v, want %q", count, again, err, want)
				}
			}
		}
	}
}

// TestManyNamesFold: the index folds as strings.EqualFold does, where three runes are one as well.
func TestManyNamesFold(t *testing.T) {
	var b strings.Builder
	for i := range 2 * fewNames {
		fmt.Fprintf(&b, `"%d":0,`, i)
	}
	for _, one := range []string{"k", "K", "\u212a", "s", "S", "\u017f", "σ", "ς", "Σ", "é", "É", "", "x"} {
		for _, other := range []string{"k", "K", "\u212a", "s", "S", "\u017f", "σ", "ς", "Σ", "é", "É", "", "x"} {
			var want Code
			if one == other {
				want = Duplicate
			} else if strings.EqualFold(one, other) {
				want = CaseVariant
			}
			if _, err := ParseObject(fmt.Appendf(nil, `{%s"%s":0,"%s":0}`, &b, one, other), 0, 0); codeOf(t, err) != want {
				t.Errorf("%q and %q: %v, want %q", one, other, err, want)
			}
		}
	}
}

// TestManyNamesAreCheap would take minutes if names were compared pairwise.
func TestManyNamesAreCheap(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"o":{`)
	for i := range 200_000 {
		fmt.Fprintf(&b, `"%d":0,`, i)
	}
	b.WriteString(`"x":0}}`)
	start := time.Now()
	if _, err := ParseObject([]byte(b.String()), 1<<30, 2); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("200,000 names took %v", took)
	}
}

func TestMemberRawCannotGrowIntoTheInput(t *testing.T) {
	in := []byte(`{"a":1,"b":2}`)
	members, err := ParseObject(in, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	_ = append(members[0].Raw, '9')
	if string(in) != `{"a":1,"b":2}` {
		t.Errorf("appending to Raw wrote into the input: %s", in)
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		`""`:                               "",
		`"a"`:                              "a",
		`"\"\\\/\b\f\n\r\t"`:               "\"\\/\b\f\n\r\t",
		`"\u00e9\u20AC\ud83d\uDE00\u0000"`: "é€😀\x00",
		`"é€😀"`:                            "é€😀",
	} {
		got, err := member(t, in).Text()
		if err != nil || got != want {
			t.Errorf("%s: %q %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{`1`, `null`, `true`, `[]`, `{}`, `["a"]`} {
		if got, err := member(t, in).Text(); codeOf(t, err) != WrongType {
			t.Errorf("%s: %q %v, want wrong type", in, got, err)
		}
	}
}

func TestStrings(t *testing.T) {
	for in, want := range map[string]string{
		`"a"`: `["a"]`, `["a","\u0062" , "c,d"]`: `["a" "b" "c,d"]`, `[]`: `[]`, `""`: `[""]`,
	} {
		got, err := member(t, in).Strings()
		if err != nil || fmt.Sprintf("%q", got) != want {
			t.Errorf("%s: %q %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{`1`, `null`, `{"a":"b"}`, `["a",1]`, `[["a"]]`, `["a",null]`, `[{}]`} {
		if got, err := member(t, in).Strings(); codeOf(t, err) != WrongType {
			t.Errorf("%s: %q %v, want wrong type", in, got, err)
		}
	}
}

func TestNumericDate(t *testing.T) {
	for in, want := range map[string]string{
		`0`: "1970-01-01T00:00:00Z", `1700000000`: "2023-11-14T22:13:20Z", `1.7e9`: "2023-11-14T22:13:20Z",
		`1700000000.5`: "2023-11-14T22:13:20.5Z", `1700000000.25e0`: "2023-11-14T22:13:20.25Z",
		`253402300799`: "9999-12-31T23:59:59Z", `1e-400`: "1970-01-01T00:00:00Z",
	} {
		got, err := member(t, in).NumericDate()
		if err != nil || got.Format(time.RFC3339Nano) != want || got.Location() != time.UTC {
			t.Errorf("%s: %v %v, want %s", in, got, err, want)
		}
	}
	for in, want := range map[string]Code{
		`-1`: OutOfRange, `-0.001`: OutOfRange, `253402300800`: OutOfRange, `1e400`: OutOfRange, `9223372036854775808`: OutOfRange,
		`1e19`: OutOfRange, `"1700000000"`: WrongType, `null`: WrongType, `true`: WrongType, `[1]`: WrongType, `{}`: WrongType,
	} {
		if got, err := member(t, in).NumericDate(); codeOf(t, err) != want {
			t.Errorf("%s: %v %v, want %s", in, got, err, want)
		}
	}
}

// member parses one value.
func member(t *testing.T, value string) Member {
	t.Helper()
	members, err := ParseObject([]byte(`{"m":`+value+`}`), 0, 0)
	if err != nil {
		t.Fatalf("%s: %v", value, err)
	}
	return members[0]
}

// TestMadeUpMembers: a Member that ParseObject did not make is refused, and never panics.
func TestMadeUpMembers(t *testing.T) {
	for kind := Kind(-1); kind <= Null+1; kind++ {
		for _, raw := range []string{"", `"`, `"\`, `"\u12`, `"a"b`, `[`, `[1`, `[]x`, `["\`, `{`, `-`, `1e`, strings.Repeat("[", 1<<20)} {
			m := Member{Kind: kind, Raw: []byte(raw)}
			_, err1 := m.Text()
			_, err2 := m.Strings()
			_, err3 := m.NumericDate()
			if err1 == nil || err2 == nil || err3 == nil {
				t.Errorf("%v %.10q: %v %v %v, want refusals", kind, raw, err1, err2, err3)
			}
		}
	}
}

func TestAppendString(t *testing.T) {
	for in, want := range map[string]string{
		"":                          `""`,
		"a\"\\/":                    `"a\"\\/"`,
		"\b\t\n\f\r\x00\x1f\x0b":    `"\b\t\n\f\r\u0000\u001f\u000b"`,
		"<é€😀&>\u2028\x7f":          "\"<é€😀&>\u2028\x7f\"",
		"a\xffb\xc3":                "\"a\ufffdb\ufffd\"",
		"\ufffd":                    "\"\ufffd\"",
		"\xed\xa0\x80":              "\"\ufffd\ufffd\ufffd\"",
		"{\"alg\":\"none\"},\u0085": "\"{\\\"alg\\\":\\\"none\\\"},\u0085\"",
	} {
		got := string(AppendString([]byte("x"), in))
		if got != "x"+want {
			t.Errorf("%q: %s, want x%s", in, got, want)
		}
		var back string
		if err := json.Unmarshal([]byte(got[1:]), &back); err != nil || back != strings.Map(func(r rune) rune { return r }, in) {
			t.Errorf("%q does not come back from encoding/json: %q %v", in, back, err)
		}
	}
}

func TestParseClaims(t *testing.T) {
	ok := `{"iss":"https://a.example","sub":"alice","aud":["b"],"exp":1700000300,"nbf":1.7e9,"iat":1700000000.5,"jti":"1","other":{"exp":"x"}}`
	if _, err := ParseClaims([]byte(ok), 0); err != nil {
		t.Error(err)
	}
	for in, want := range map[string]Code{
		`{"iss":1}`: WrongType, `{"sub":null}`: WrongType, `{"jti":7}`: WrongType, `{"aud":{}}`: WrongType, `{"aud":["a",1]}`: WrongType,
		`{"exp":"1700000000"}`: WrongType, `{"nbf":null}`: WrongType, `{"iat":[]}`: WrongType, `{"exp":1e300}`: OutOfRange,
		`{"sub":"a","Sub":"b"}`: CaseVariant, `{"exp":1,"exp":2}`: Duplicate, `[]`: NotObject,
	} {
		if _, err := ParseClaims([]byte(in), 0); codeOf(t, err) != want {
			t.Errorf("%s: %v, want %s", in, err, want)
		}
	}
	if _, err := ParseClaims([]byte(ok), len(ok)-1); codeOf(t, err) != TooLarge {
		t.Errorf("over its limit: %v", err)
	}
}

// TestErrorIsFitForLogs: what an attacker puts in a name comes out bounded and printable.
func TestErrorIsFitForLogs(t *testing.T) {
	_, err := ParseObject([]byte(`{"a\n\u001b[2Jé`+strings.Repeat("x", 5000)+`":1}`), 0, 0)
	if codeOf(t, err) != Malformed {
		t.Fatal(err)
	}
	text := err.Error()
	if len(text) > 200 {
		t.Errorf("%d bytes: %s", len(text), text)
	}
	for _, r := range text {
		if r < 0x20 || r > 0x7e {
			t.Errorf("not printable ASCII: %q", text)
			break
		}
	}
	if got, want := (&Error{Code: BadKid, Part: "header", Name: "kid", Offset: 14, Detail: "why"}).Error(), `jws: header: bad kid "kid" at byte 14: why`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}
