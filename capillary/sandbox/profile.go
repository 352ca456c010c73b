package sandbox

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"
)

type partJSON struct {
	Status  any    `json:"status"` // see Part
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func partsJSON(parts []Part, inData bool) []partJSON {
	out := make([]partJSON, 0, len(parts))
	for _, p := range parts {
		j := partJSON{Status: p.OK, Code: p.Code, Message: p.Message}
		if inData {
			j.Status = strconv.FormatBool(p.OK)
		}
		out = append(out, j)
	}
	return out
}

// bodyParts is the body of an answer that is no profile.
func bodyParts(r Reply) map[string]any {
	body := map[string]any{"errors": partsJSON(r.Errors, false)}
	if !r.OmitData {
		body["data"] = partsJSON(r.Data, true)
	}
	if !r.OmitWarnings {
		body["warnings"] = partsJSON(r.Warnings, false)
	}
	return body
}

type imageJSON struct {
	Code           int      `json:"code"`
	File           fileJSON `json:"file"`
	FilePath       string   `json:"filePath"`
	Message        string   `json:"message"`
	SecureFilePath string   `json:"secureFilePath"`
	Status         string   `json:"status"`
}

type fileJSON struct {
	ACL           string `json:"acl"`
	FileSize      string `json:"fileSize,omitempty"`
	FileHandle    string `json:"fileHandle"`
	LastModified  string `json:"lastModified"`
	LatestVersion int    `json:"latestVersion"`
	Name          string `json:"name"`
	Namespace     string `json:"namespace"`
	S3Token       string `json:"s3Token"`
	Version       int    `json:"version"`
}

func firstName(bits uint64) string {
	names := [...]string{"Asha", "Ben", "Chen", "Dalia", "Efe", "Farid", "Greta", "Hana", "Ivo", "Jaya"}
	return names[bits%uint64(len(names))]
}

// bodyProfile is a customer's whole profile: what a listing really carries,
// most of which nobody asked for.
func (m *Model) bodyProfile(r Reply, now time.Time, embedded bool) map[string]any {
	id := r.Customer
	shape := draw(m.o.Seed, saltShape, id)
	name := firstName(shape)
	profile := map[string]any{"firstName": name, "lastName": "Example", "userId": id}
	body := map[string]any{
		"id": id, "profiles": []any{profile}, "warnings": partsJSON(r.Warnings, false),
	}
	// A customer without images is shown in one of four ways, always the same
	// for this customer: thin as in the published sample, empty, null, absent.
	none := shape >> 8 % 4
	thin := len(r.Images) == 0 && none == 0
	if !thin {
		profile["identifiers"] = []any{
			map[string]any{"type": "email", "value": fmt.Sprintf("%s.%d@example.invalid", strings.ToLower(name), id)},
			map[string]any{"type": "mobile", "value": fmt.Sprintf("91%010d", id%10_000_000_000)},
		}
		profile["source"] = "INSTORE"
		profile["accountId"] = ""
		body["loyaltyInfo"] = map[string]any{
			"loyaltyType":       "loyalty",
			"lifetimePurchases": json.Number(fmt.Sprintf("%d.%03d", shape>>16%5000, shape>>32%1000)),
		}
		body["segments"] = map[string]any{}
		body["associatedWith"] = "till.example"
		body["extendedFields"] = map[string]any{"gender": []string{"Female", "Male", "Other"}[shape>>40%3]}
		body["cardDetails"] = []any{}
	}
	switch {
	case !embedded:
	case len(r.Images) > 0:
		body["customerImage"] = m.imagesJSON(id, r.Images, now)
	case none == 2:
		body["customerImage"] = nil
	case none < 2:
		body["customerImage"] = []any{}
	}
	return body
}

func (m *Model) imagesJSON(owner int64, images []Image, now time.Time) []imageJSON {
	out := make([]imageJSON, 0, len(images))
	for _, img := range images {
		path := fmt.Sprintf("https://files.example.invalid/%s?X-Amz-Expires=3600&X-Amz-Date=%s&X-Amz-Signature=%016x",
			img.Token, now.UTC().Format("20060102T150405Z"), draw(m.o.Seed, saltSignature, owner, int64(img.Slot), now.Unix()))
		file := fileJSON{
			ACL: "PRIVATE", FileHandle: img.Handle, LastModified: img.LastModified.UTC().Format(time.DateTime),
			LatestVersion: img.Version, Name: fmt.Sprintf("%d/%d/%d", m.o.Org, owner, img.Slot),
			Namespace: "customerImage", S3Token: img.Token, Version: img.Version,
		}
		if img.Size > 0 {
			file.FileSize = strconv.FormatInt(img.Size, 10)
		}
		out = append(out, imageJSON{
			Code: 200, File: file, FilePath: path, Message: "Success", SecureFilePath: path, Status: "true",
		})
	}
	return out
}
