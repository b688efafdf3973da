#pragma once
// The style sheet and the script that report.html carries inside.
#include <string_view>

namespace moxie::recipes {

extern const std::string_view kReportStyle;
extern const std::string_view kReportScript;

}  // namespace moxie::recipes
