package server

import (
	"encoding/base64"
	"fmt"
	"strings"

	pb "intaglio.example/api/intagliov1"
)

// Sizes of a page: when the caller does not say, and at most.
const (
	defaultPage = 100
	maxPage     = 1000
)

// paging is what every list request has.
type paging interface {
	GetPageSize() int32
	GetPageToken() string
}

// tokenVersion begins every page token, so that another release can tell its own from ours.
const tokenVersion = "1"

// page cuts one page out of items, which are sorted by key, and returns the token of the next page, empty after the last.
// A token holds the key of the last item shown, and the name of its list: another list refuses it. Items that come or
// go between two pages are shown or not, but never shift the others.
func page[T any](list string, req paging, items []T, key func(T) string) ([]T, string, error) {
	size := int(req.GetPageSize())
	if size == 0 {
		size = defaultPage
	}
	if size < 1 || size > maxPage {
		return nil, "", invalid("page_size", "page_size %d is not within 1 to %d", size, maxPage)
	}
	if req.GetPageToken() != "" {
		last, err := lastOf(list, req.GetPageToken())
		if err != nil {
			return nil, "", err
		}
		for len(items) > 0 && key(items[0]) <= last {
			items = items[1:]
		}
	}
	if len(items) <= size {
		return items, "", nil
	}
	token := strings.Join([]string{tokenVersion, list, key(items[size-1])}, "\n")
	return items[:size], base64.RawURLEncoding.EncodeToString([]byte(token)), nil
}

func lastOf(list, token string) (string, error) {
	text, err := base64.RawURLEncoding.Strict().DecodeString(token)
	last, ok := strings.CutPrefix(string(text), fmt.Sprintf("%s\n%s\n", tokenVersion, list))
	if err != nil || !ok {
		return "", failField(pb.Reason_REASON_PAGE_TOKEN_INVALID, "page_token", "page_token is not one that this list gave out")
	}
	return last, nil
}
