//! What the recorded vectors do not reach, compared with the published loader on the same messages: dates, temporary files,
//! removed folders, the shell.

use std::{fs, sync::Arc};

use holon_cu::machine::{Machine, NoDrive, Outcome};
use serde_json::{Value, json};

use super::{LIMITS, call, conformance::compiled, on_evaluation_thread, published};

/// Runs while the process boots, where the loader's host state is as fresh as ours.
const PROBE: &str = r#"
local r = {}
local function try(name, f) local ok, a, b, c = pcall(f) r[#r + 1] = table.concat({name, tostring(ok), tostring(a), tostring(b), tostring(c)}, "|") end
for _, t in ipairs{ {year=2021,month=14,day=0,hour=25,min=61,sec=61}, {year=1970,month=1,day=1,hour=0}, {year=2024,month=2,day=29},
    {year=99,month=1,day=1}, {year=1600,month=12,day=31}, {year=275761,month=1,day=1}, {year=2000,month=-5,day=400,isdst=true},
    {year=2000,month=1,day=1,isdst=false} } do
  try("time", function() return os.time(t) end)
  try("normalised", function() os.time(t) return os.date("%Y-%m-%d %H:%M:%S %w %j", os.time(t)) end)
end
for _, s in ipairs{ 0, 1, 951782399, 951782400, 1700000000, -1, -86400 * 365 * 300, 253402300800, 1609459199, 1546128000, 1451779200 } do
  try("date", function() return os.date("!%a %A %b %B %c %C %d %D %e %F %g %G %h %H %I %j %m %M %p %r %R %S %T %u %U %V %w %W %x %X %y %Y %z %Z %%", s) end)
  try("local", function() return os.date("%c %z %Z", s) end)
  try("modified", function() return os.date("!%Ec %EC %Ex %EX %Ey %EY %Od %Oe %OH %OI %Om %OM %OS %Ou %OU %OV %Ow %OW %Oy", s) end)
  try("table", function() local t = os.date("*t", s) return t.year .. "/" .. t.month .. "/" .. t.day .. "/" .. t.yday .. "/" .. t.wday .. "/" .. tostring(t.isdst) end)
end
try("bad date", function() return os.date("%Q") end)
try("far date", function() return os.date("!%c", 8640000000001) end)
try("clock", function() return os.clock() end)
try("clock", function() return os.clock() end)
try("now", function() return os.time() end)
try("write", function() return tostring(io.write("")) ~= nil end)
try("clock", function() return os.clock() end)
try("remove missing", function() return os.remove("/tmp/none") end)
try("remove root", function() return os.remove("/") end)
try("remove full", function() return os.remove("/dev/shm") end)
try("remove home", function() return os.remove("/home") end)
try("remove proc", function() return os.remove("/proc/self/fd") end)
try("clock", function() return os.clock() end)
try("rename missing", function() return os.rename("/tmp/a", "/tmp/b") end)
try("rename into", function() return os.rename("/home", "/home/web_user/x") end)
try("rename", function() return os.rename("/home/web_user", "/home/you") end)
try("rename over full", function() return os.rename("/home/you", "/dev") end)
try("rename file over folder", function() return os.rename("/dev/null", "/home/you") end)
try("rename folder over file", function() return os.rename("/home/you", "/dev/null") end)
try("clock", function() return os.clock() end)
try("remove tmp", function() return os.remove("/tmp") end)
try("remove device", function() return os.remove("/dev/random") end)
try("remove link", function() return os.remove("/dev/stdout") end)
try("through file", function() return os.remove("/dev/null/x") end)
try("empty", function() return os.remove("") end)
try("clock", function() return os.clock() end)
try("getenv", function() return os.getenv("HOME") end)
try("tmpname", function() return os.tmpname() end)
try("tmpname", function() return os.tmpname() end)
try("clock", function() return os.clock() end)
try("locale", function() return os.setlocale() end)
try("open", function() return io.open("/tmp/x", "w") end)
try("popen", function() return io.popen("ls") end)
try("seek", function() return io.stdout:seek("cur", 0) end)
try("write", function() io.write("probe ", "text\n") io.stdout:flush() return os.clock() end)
try("write", function() io.stderr:write("probe text\n") return os.clock() end)
try("tmpfile", function() F = io.tmpfile() F:write("abc") F:flush() return F:seek("cur"), F:seek("set", 1), F:seek("end") end)
try("bad seek", function() return F:seek("set", -1) end)
try("clock", function() return os.clock() end)
try("execute", function() return os.execute() end)
try("vbuf", function() return io.stdout:setvbuf("full") end)
Probe = table.concat(r, "\n")
"#;

/// A recorded message with other data.
fn with_data(step: &Value, data: &str) -> String {
    let mut message: Value = serde_json::from_str(step["messageJson"].as_str().unwrap()).unwrap();
    message["Data"] = data.into();
    message.to_string()
}

fn compare(name: &str) {
    let vector = published::vector(name);
    let environment = vector["envJson"].as_str().unwrap();
    let messages = [with_data(&vector["steps"][0], PROBE), with_data(&vector["steps"][1], "return Probe")];
    let file = vector["module"]["path"].as_str().unwrap().rsplit('/').next().unwrap();
    let mut machine = Machine::new(&compiled(&vector), LIMITS, Arc::new(NoDrive)).unwrap();
    let ours: Vec<Value> = messages
        .iter()
        .map(|message| match machine.apply(&call(message, environment)).unwrap().outcome {
            Outcome::Ok(response) => response.output.unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();

    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log.json");
    fs::write(&log, json!({ "messages": messages, "environment": environment }).to_string()).unwrap();
    let module = published::path(file);
    let arguments = [module.as_os_str(), vector["format"].as_str().unwrap().as_ref(), log.as_os_str()];
    let answers = published::loader_answers("ao-loader.mjs", &arguments);
    let lines = |value: &Value| -> Vec<String> { value["data"].as_str().unwrap().lines().map(str::to_owned).collect() };
    assert_eq!(ours[0], answers[0]["output"]);
    let (ours, theirs) = (lines(&ours[1]), lines(&answers[1]["output"]));
    assert!(ours.len() > 80);
    let different: Vec<_> = ours.iter().zip(&theirs).filter(|(ours, theirs)| ours != theirs).collect();
    assert!(different.is_empty(), "{} lines differ (ours, theirs): {different:#?}", different.len());
    assert_eq!(ours.len(), theirs.len());
}

#[test]
fn dates_and_files_of_a_64_bit_module_are_the_loaders() {
    on_evaluation_thread(|| compare("aos2_0_6"));
}

#[test]
fn dates_and_files_of_a_32_bit_module_are_the_loaders() {
    on_evaluation_thread(|| compare("aos2_0_4_32"));
}
