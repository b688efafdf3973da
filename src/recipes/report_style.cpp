#include "recipes/report_style.h"

namespace moxie::recipes {

// Dark when the system asks for it, unless the switch (data-theme on <html>) says otherwise: so the
// dark values stand twice.
const std::string_view kReportStyle = R"css(
:root{--bg:#f6f5f2;--card:#fff;--text:#1d1f24;--soft:#6a6f7a;--line:#e5e3dd;--accent:#4f46e5;
--faint:#c7c4f5;--eval:#d9480f;--good:#0b7a53;--good-bg:#e6f5ee;--bad:#a4412b;--bad-bg:#fbece8;
--shadow:0 1px 2px #1d1f2412,0 6px 24px #1d1f240a}
[data-theme=dark]{--bg:#101216;--card:#181b21;--text:#e8e9ed;--soft:#989eab;--line:#2a2e37;
--accent:#9d97ff;--faint:#4a4780;--eval:#ff9f5a;--good:#6fd6a8;--good-bg:#14291f;--bad:#f0937c;
--bad-bg:#2d1a16;--shadow:none}
@media(prefers-color-scheme:dark){:root:not([data-theme=light]){--bg:#101216;--card:#181b21;
--text:#e8e9ed;--soft:#989eab;--line:#2a2e37;--accent:#9d97ff;--faint:#4a4780;--eval:#ff9f5a;
--good:#6fd6a8;--good-bg:#14291f;--bad:#f0937c;--bad-bg:#2d1a16;--shadow:none}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--text);font:15px/1.5 system-ui,-apple-system,
"Segoe UI",Roboto,"Helvetica Neue","DejaVu Sans",sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1080px;margin:0 auto;padding:32px 20px 48px}
header{display:flex;gap:16px;align-items:flex-start;margin-bottom:24px}
header div{flex:1;min-width:0}
h1{font-size:26px;line-height:1.2;margin:0 0 4px;letter-spacing:-.02em;overflow-wrap:anywhere}
header p{margin:0;color:var(--soft);overflow-wrap:anywhere}
h2{font-size:17px;margin:40px 0 12px;letter-spacing:-.01em}
.brand{color:var(--accent);font-weight:700;font-size:13px;letter-spacing:.08em;
text-transform:uppercase}
button{border:1px solid var(--line);background:var(--card);color:var(--soft);border-radius:8px;
padding:6px 12px;font:inherit;font-size:13px;cursor:pointer}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;
box-shadow:var(--shadow)}
.tiles{display:flex;flex-wrap:wrap;gap:12px}
.tile{padding:14px 16px;flex:1 1 170px}
.tile b{display:block;font-size:22px;line-height:1.25;font-weight:650;letter-spacing:-.02em;
overflow-wrap:anywhere}
.tile span{color:var(--soft);font-size:13px}
.tile.main b{color:var(--accent)}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(280px,1fr));gap:12px;
margin-top:12px}
.chart{margin:0;padding:14px 16px 12px;min-width:0}
.chart.wide{grid-column:1/-1}
figcaption{display:flex;gap:8px;align-items:baseline;flex-wrap:wrap;margin-bottom:10px}
figcaption small{color:var(--soft)}
.legend{margin-left:auto;font-size:13px;color:var(--soft)}
.key{display:inline-block;width:14px;height:3px;border-radius:2px;margin:0 6px 3px 14px;
background:var(--accent)}
.key.eval{background:var(--eval)}.key.faint{background:var(--faint)}
.plot{position:relative;height:150px;margin:0 0 22px 44px;touch-action:pan-y}
.wide .plot{height:280px}
.plot svg{width:100%;height:100%;display:block;overflow:visible}
.plot path{fill:none;vector-effect:non-scaling-stroke}
.grid{stroke:var(--line);stroke-width:1}
.line{stroke:var(--accent);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}
.line.eval{stroke:var(--eval)}.line.faint{stroke:var(--faint);stroke-width:1.2}
.dots{stroke:var(--eval);stroke-width:8;stroke-linecap:round}
.plot span{position:absolute;font-size:12px;line-height:1;color:var(--soft);white-space:nowrap}
.plot .y{right:calc(100% + 8px);transform:translateY(-50%)}
.plot .x{top:calc(100% + 8px);transform:translateX(-50%)}
.cursor{position:absolute;top:0;bottom:0;width:1px;background:var(--soft)}
output{display:block;min-height:18px;font-size:12px;line-height:18px;color:var(--soft);
margin-left:44px}
.samples{display:grid;gap:12px}
.sample{padding:16px}
.ask{margin:0 0 12px;font-weight:600;white-space:pre-wrap;overflow-wrap:anywhere}
.answers{display:grid;grid-template-columns:repeat(auto-fit,minmax(250px,1fr));gap:10px}
.answer{border-radius:8px;padding:10px 12px;background:var(--bg);min-width:0}
.answer span{display:block;font-size:12px;color:var(--soft);margin-bottom:4px}
.answer.good{background:var(--good-bg)}.answer.good span{color:var(--good)}
.answer.bad{background:var(--bad-bg)}.answer.bad span{color:var(--bad)}
.answer code{font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
white-space:pre-wrap;overflow-wrap:anywhere;display:block;max-height:240px;overflow:auto}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:14px}
th,td{padding:8px 16px;text-align:left;border-top:1px solid var(--line);vertical-align:middle}
tr:first-child th,tr:first-child td{border-top:0}
th{font-weight:600;color:var(--soft);font-size:13px}
td.n,th.n{text-align:right;white-space:nowrap}
td code{font:13px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace;
white-space:nowrap}
td.bar{width:24%;min-width:80px}td.bar i{display:block;height:8px;border-radius:4px;
background:var(--accent);min-width:2px}
.config{columns:320px;column-gap:0}
.config div{display:flex;gap:16px;padding:6px 16px;break-inside:avoid;font-size:14px}
.config span{color:var(--soft);flex:none}
.config code{margin-left:auto;text-align:right;font:13px/1.6 ui-monospace,SFMono-Regular,Menlo,
Consolas,"DejaVu Sans Mono",monospace;overflow-wrap:anywhere;min-width:0}
footer{margin-top:32px;color:var(--soft);font-size:13px}
@media(max-width:560px){main{padding:20px 12px 32px}td.bar,th:last-child:empty{display:none}h1{font-size:21px}.wide .plot{height:200px}
.tile{flex-basis:130px;padding:12px}.tile b{font-size:19px}.legend{margin-left:0;width:100%}.key:first-child{margin-left:0}
th,td{padding:7px 10px}}
@media print{button{display:none}.card{box-shadow:none;break-inside:avoid}}
)css";

const std::string_view kReportScript = R"js(
document.querySelector('button').onclick=()=>{const r=document.documentElement,
d=r.dataset.theme?r.dataset.theme==='dark':matchMedia('(prefers-color-scheme:dark)').matches;
r.dataset.theme=d?'light':'dark'};
for(const plot of document.querySelectorAll('.plot')){
const d=JSON.parse(plot.dataset.chart),cursor=plot.querySelector('.cursor'),
out=plot.nextElementSibling;
plot.onpointermove=e=>{const box=plot.getBoundingClientRect(),
at=d.low+(e.clientX-box.left)/box.width*(d.high-d.low);let step=null;
const said=d.series.filter(s=>s.points.length).map(s=>{
const p=s.points.reduce((a,b)=>Math.abs(b[0]-at)<Math.abs(a[0]-at)?b:a);step=step??p[0];
return s.name+' '+Number(p[1].toPrecision(4))});if(step===null)return;
cursor.hidden=false;cursor.style.left=(step-d.low)/(d.high-d.low)*100+'%';
out.textContent='step '+Math.round(step)+': '+said.join(', ')};
plot.onpointerleave=()=>{cursor.hidden=true;out.textContent=''}}
)js";

}  // namespace moxie::recipes
